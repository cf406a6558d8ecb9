"""The real parts outside: Collector, telemetrygen, Prometheus, VictoriaMetrics, axe-core, other languages' senders.

They are built once and run as processes. `python tests/acceptance/parts.py --get` builds them into a folder outside
the tree (needs Go and the Go module proxy, and for the senders of other languages npm, Maven and their registries;
about five minutes the first time). Tests only ever use what is built: a test run downloads nothing.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import building
from building import COLLECTOR_VERSION, MANIFEST, ROOT, SENDERS, PartUnavailable

# Set where the parts must be there, in CI: a test that needs one then fails instead of being skipped.
REQUIRED_VARIABLE = "OTEL_SLA_TEST_PARTS_REQUIRED"


# Getting them


def tools_folder() -> Path:
    """Where the parts are kept, outside the tree; `OTEL_SLA_TEST_TOOLS` says otherwise."""
    chosen = os.environ.get("OTEL_SLA_TEST_TOOLS")
    if chosen:
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "otel-sla" / "tools"


def collector_path() -> Path:
    """Where the Collector of the present manifest is, or would be."""
    fingerprint = hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:12]
    return tools_folder() / f"otelcol-sla-{COLLECTOR_VERSION}-{fingerprint}"


def telemetrygen_path() -> Path:
    """Where telemetrygen is, or would be."""
    return tools_folder() / f"telemetrygen-{COLLECTOR_VERSION}"


def find_part(path: Path) -> Path:
    """The part's path, if it is built; PartUnavailable else."""
    if not path.exists():
        raise PartUnavailable(f"{path.name} is not built: `{Path(sys.executable).name} {_shown(__file__)} --get` does")
    return path


def prometheus_path() -> Path:
    """Where Prometheus is, or would be."""
    return tools_folder() / f"prometheus-{building.PROMETHEUS_VERSION}"


def promtool_path() -> Path:
    """Where promtool is, or would be."""
    return tools_folder() / f"promtool-{building.PROMETHEUS_VERSION}"


def victoriametrics_path() -> Path:
    """Where VictoriaMetrics is, or would be."""
    return tools_folder() / f"victoriametrics-{building.VICTORIAMETRICS_VERSION}"


def go_sender_path() -> Path:
    """Where the sender with the Go SDK is, or would be."""
    return tools_folder() / f"sender-go-{_fingerprint_of(SENDERS / 'go')}"


def node_sender_path() -> Path:
    """Where the folder of the sender with the JavaScript SDK is, or would be; `node send.mjs` runs there."""
    return tools_folder() / f"sender-node-{_fingerprint_of(SENDERS / 'node')}"


def axe_path() -> Path:
    """Where axe-core's script is, or would be."""
    return tools_folder() / f"axe-core-{building.AXE_VERSION}.js"


def java_sender_path() -> Path:
    """Where the class path of the sender with the Java SDK is, or would be; its main class is `Sender`."""
    return tools_folder() / f"sender-java-{_fingerprint_of(SENDERS / 'java')}"


def _fingerprint_of(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def is_node_there() -> bool:
    """Whether this machine has what JavaScript's sender and axe-core need; Go has to be there, Node may be missing."""
    return shutil.which("npm") is not None and shutil.which("node") is not None


def is_java_there() -> bool:
    """Whether this machine has what Java's sender needs, which may be missing as well."""
    return all(shutil.which(tool) is not None for tool in ("mvn", "javac", "java"))


def part_paths() -> list[Path]:
    """All parts that this machine is to have."""
    paths = [collector_path(), telemetrygen_path(), go_sender_path()]
    paths += [prometheus_path(), promtool_path(), victoriametrics_path()]
    paths += [node_sender_path(), axe_path()] if is_node_there() else []
    paths += [java_sender_path()] if is_java_there() else []
    return paths


def get_parts() -> list[Path]:
    """Builds what is missing; PartUnavailable if that cannot be. Of several processes one builds, the others wait."""
    folder = tools_folder()
    folder.mkdir(parents=True, exist_ok=True)
    builds = {
        collector_path(): ("go", building.build_collector),
        telemetrygen_path(): ("go", building.install_telemetrygen),
        go_sender_path(): ("go", building.build_go_sender),
        prometheus_path(): ("go", building.install_prometheus),
        promtool_path(): ("go", building.install_promtool),
        victoriametrics_path(): ("go", building.install_victoriametrics),
        node_sender_path(): ("npm", building.install_node_sender),
        axe_path(): ("npm", building.get_axe),
        java_sender_path(): ("mvn", building.build_java_sender),
    }
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in part_paths():
            if not path.exists():
                _build(path, *builds[path])
    return part_paths()


def _build(target: Path, tool: str, build: Callable[[Path, str], Path]) -> None:
    command = shutil.which(tool)
    if command is None:
        raise PartUnavailable(f"{target.name} cannot be built: {tool} is not installed (Go is needed in 1.25 or newer)")
    _say(f"building {target.name}")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # The rename is what makes it visible: a build that was stopped half-way leaves nothing that looks whole.
        build(Path(folder), command).rename(target)
    _say(f"built {target.name}")


def _shown(path: str) -> str:
    return str(Path(path).resolve().relative_to(ROOT))


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


# Running them


def free_ports(count: int) -> list[int]:
    """Ports that the kernel had free a moment ago, each a different one.

    The Collector does not tell which port it got, so it has to be told one. Another process may be faster: see
    `CollectorProcess.start`.
    """
    with contextlib.ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [opened.getsockname()[1] for opened in sockets]


class ProcessEnded(AssertionError):
    """The process ended, or said nothing in time, while a line of its log was waited for."""


class LoggedProcess:
    """A process whose standard error is read line by line, so that a test waits for what it says and not for time."""

    def __init__(self, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        self.command = command
        self.environment = dict(environment or {})
        self.lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._news = threading.Condition()
        self._ended = False

    def start(self) -> None:
        """Starts the process; it may not be ready yet."""
        self.lines.clear()
        self._ended = False
        self._process = subprocess.Popen(
            self.command,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, log: IO[str]) -> None:
        for line in log:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, *patterns: str, timeout_s: float = 30.0) -> str:
        """The first line in the log that every pattern is found in, now or later; ProcessEnded if none comes."""
        with self._news:
            self._news.wait_for(lambda: self._ended or self._find(patterns) is not None, timeout=timeout_s)
            found = self._find(patterns)
        if found is None:
            why = "ended" if self._ended else f"said nothing in {timeout_s} s"
            log = "\n".join(self.lines[-40:])
            raise ProcessEnded(f"{Path(self.command[0]).name} {why}, waiting for {patterns}; its log:\n{log}")
        return found

    def wait_until(self, is_so: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        """Waits for what the log does not tell: asks after each line, and ten times a second besides."""
        deadline = time.monotonic() + timeout_s
        while not is_so():
            if self._ended or time.monotonic() > deadline:
                why = "ended" if self._ended else f"did not come to it in {timeout_s} s"
                raise ProcessEnded(f"{self.command} {why}; its log:\n" + "\n".join(self.lines[-40:]))
            with self._news:
                self._news.wait(0.1)

    def _find(self, patterns: tuple[str, ...]) -> str | None:
        return next((line for line in self.lines if all(re.search(pattern, line) for pattern in patterns)), None)

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        """SIGTERM, without waiting for the end."""
        assert self._process is not None, "not started"
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, *, timeout_s: float = 20.0) -> int:
        """SIGTERM, then the exit code; a process that does not obey in time is killed and that is an error."""
        self.terminate()
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessEnded(f"{self.command[0]} did not stop within {timeout_s} s of SIGTERM") from None
        finally:
            self._close()

    def wait(self, *, timeout_s: float = 20.0) -> int:
        """The exit code of a process that ends by itself."""
        assert self._process is not None, "not started"
        code = self._process.wait(timeout_s)
        self._close()
        return code

    def kill(self) -> None:
        """SIGKILL: the process gets no word in. Nothing happens to one that has ended or was not started."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        if self._reader is not None:
            self._reader.join(timeout=5)
        self._process.stderr.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.is_running:
            self.stop()
        else:
            self.kill()


# Every Collector serves its own metrics at localhost:8888 unless told otherwise: the second of two would not start.
_NO_OWN_METRICS = "yaml:service::telemetry::metrics::level: none"


class CollectorProcess(LoggedProcess):
    """A Collector on ports of its own.

    `port_variables` are the names under which the configuration asks for `host:port`, as in `${env:NAME}`; each gets a
    free port of the loopback interface. Used as a context it is ready when the body starts.
    """

    ATTEMPTS = 3

    def __init__(
        self, binary: Path, config: Path, port_variables: tuple[str, ...], environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__([str(binary), "--config", str(config), "--config", _NO_OWN_METRICS], environment)
        self._port_variables = port_variables
        self.endpoints: dict[str, str] = {}

    def start(self) -> None:
        """Starts it and returns when it serves. Should a port be taken meanwhile, it is tried again on others."""
        for attempt in range(self.ATTEMPTS):
            ports = free_ports(len(self._port_variables))
            self.endpoints = {name: f"127.0.0.1:{port}" for name, port in zip(self._port_variables, ports, strict=True)}
            self.environment.update(self.endpoints)
            super().start()
            try:
                self.wait_for("Everything is ready")
            except ProcessEnded:
                self.kill()
                was_taken = any("address already in use" in line for line in self.lines)
                if not was_taken or attempt == self.ATTEMPTS - 1:
                    raise
            else:
                return


def main() -> int:
    """Gets the parts, or says where they are."""
    parser = argparse.ArgumentParser(description="The real parts that the acceptance tests run.")
    parser.add_argument("--get", action="store_true", help="build what is missing; needs Go")
    arguments = parser.parse_args()
    try:
        found = get_parts() if arguments.get else [find_part(path) for path in part_paths()]
    except PartUnavailable as problem:
        _say(str(problem))
        return 1
    for path in found:
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
