"""A real `otel-sla run` under attack: what it takes of memory, what it has counted, whether it lives."""

import os
import re
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import builders
import grpc
import parts
import yaml
from pipeline_parts import EXPORT

from hostile.guard import METADATA, Guard
from otel_sla.ledger.reader import LedgerReader

MIB = 1 << 20
LIMIT_MIB = 64  # Of one request, and of all that are under way.


class Target:
    """The process, on ports of its own; with the smallest limits that OTLP recommends.

    Args:
        folder: For the ledger and the configuration.
        grpc: More settings of the gRPC server.
        http: More settings of the HTTP server.
        processor: More settings of the processor.
        guard: What senders have to show; None: everybody is welcome.
        page: Settings of the page; None: there is none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        grpc: Mapping[str, Any] | None = None,
        http: Mapping[str, Any] | None = None,
        processor: Mapping[str, Any] | None = None,
        guard: Guard | None = None,
        page: Mapping[str, Any] | None = None,
    ) -> None:
        self.guard = guard
        guarded = {} if guard is None else guard.settings()
        self.ledger = folder / "ledger.db"
        config = folder / "otel-sla.yaml"
        protocols = {
            "grpc": {"endpoint": "127.0.0.1:0", "max_recv_msg_size_mib": LIMIT_MIB, **guarded, **(grpc or {})},
            "http": {"endpoint": "127.0.0.1:0", "max_request_body_size_mib": LIMIT_MIB, **guarded, **(http or {})},
        }
        settings = {
            "page": None if page is None else dict(page),
            "receivers": {"otlp": {"protocols": protocols}},
            "ledger": {"url": f"sqlite:///{self.ledger}"},
            "processor": {"memory_limit_mib": LIMIT_MIB, **(processor or {})},
        }
        config.write_text(yaml.safe_dump(settings))
        self._process = parts.LoggedProcess([sys.executable, "-m", "otel_sla", "run", "--config", str(config)])
        self._good_sent = 0
        self.grpc_port = 0
        self.http_port = 0
        self.page_port = 0  # 0: there is none.
        self.idle_bytes = 0

    def __enter__(self) -> Self:
        self._process.start()
        serving = self._process.wait_for("action=serving", timeout_s=120)
        found = re.search(r"gRPC (\d+), HTTP (\d+)", serving)
        assert found is not None, serving
        self.grpc_port, self.http_port = int(found[1]), int(found[2])
        if page := re.search(r"page https?://[^ ]*:(\d+)/", serving):
            self.page_port = int(page[1])
            self.wait_for_page()
        for _ in range(20):  # What the first requests take stays: buffers, code, SQLite's cache.
            self.send_good()
        self.idle_bytes = self.rss_bytes()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def log(self) -> list[str]:
        """The lines of its log."""
        return list(self._process.lines)

    @property
    def complaints(self) -> list[str]:
        """The lines that tell of a failure; downtime that it found in the spans is none."""
        errors = (line for line in self.log if "Traceback" in line or " ERROR " in line)
        return [line for line in errors if "sla.agreement.name=" not in line]

    def rss_bytes(self) -> int:
        """Physical memory now, of the page's process too."""
        return self._status_bytes("VmRSS")

    def peak_bytes(self) -> int:
        """The most physical memory since `reset_peak`."""
        return self._status_bytes("VmHWM")

    def page_bytes(self, key: str) -> int:
        """Physical memory of the page's process: `VmRSS` now, `VmHWM` the most."""
        _, page = self._pids()
        return _status_bytes(page, key)

    def page_text(self, path: str) -> str:
        """What the page answers; empty if it does not."""
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.page_port}{path}", timeout=20) as answer,
        ):
            return str(answer.read().decode())
        return ""

    def wait_for_page(self) -> None:
        """Ask until the page answers, as it does again when connections have ended."""
        deadline = time.monotonic() + 60
        while not self.page_text("/"):
            assert time.monotonic() < deadline, "the page answers"

    def reset_peak(self) -> None:
        """Begin a new peak: the kernel keeps it, so that none is too short to be seen."""
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _pids(self) -> list[int]:
        """The process, and the page's, if there is one."""
        stats = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # It has ended meanwhile.
                stats[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        return [self.pid, *(pid for pid, parent in stats.items() if parent == self.pid)]

    def cpu_s(self) -> float:
        """User and system CPU time so far, of all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status_bytes(self, key: str) -> int:
        return sum(_status_bytes(pid, key) for pid in self._pids())

    def metric(self, name: str) -> float:
        """A counter or gauge of its own telemetry."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    def counted(self) -> int:
        """Every request that the ledger holds, of both outcomes and invalid ones."""
        with closing(LedgerReader.open(f"sqlite:///{self.ledger}")) as reader:
            return int(reader.counts(0, 1 << 40).counts.sum())

    def is_unjudged(self) -> bool:
        """Whether there are minutes that grew since they were judged."""
        with closing(LedgerReader.open(f"sqlite:///{self.ledger}")) as reader:
            return bool(reader.reopened())

    def send_good(self) -> None:
        """A good request that no other is like is acknowledged, and counted."""
        before = self.counted()
        self._good_sent += 1
        body = good_body(self._good_sent)
        with self.channel() as channel:
            channel.unary_unary(EXPORT)(body, timeout=20, metadata=self.metadata)
        assert self.counted() == before + GOOD_SPANS, "a good request is counted, once"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a sender that is welcome sends with each call."""
        return METADATA if self.guard is not None else ()

    def channel(self) -> grpc.Channel:
        """To its gRPC port."""
        address = f"127.0.0.1:{self.grpc_port}"
        credentials = None if self.guard is None else self.guard.channel_credentials()
        return grpc.insecure_channel(address) if credentials is None else grpc.secure_channel(address, credentials)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        return self._process.stop()


def _status_bytes(pid: int, key: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(size) for size in re.findall(rf"(?m)^{key}:\s+(\d+) kB$", status)) * 1024


GOOD_SPANS = 10


def good_body(seed: int) -> bytes:
    """A request of `GOOD_SPANS` spans that end now."""
    return builders.realistic_request(GOOD_SPANS, seed, start_unix_nano=time.time_ns(), duration_nano=1)
