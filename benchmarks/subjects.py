"""The servers that are measured, each in a process of its own: ours, those it is compared with, and real Collectors."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "acceptance")]

import parts  # noqa: E402

_PORT_VARIABLES = ("OTLP_GRPC", "OTLP_HTTP")


class Subject:
    """One server: where it listens, what it costs.

    Args:
        name: For tables.
        process: Not started yet.
    """

    def __init__(self, name: str, process: parts.LoggedProcess) -> None:
        self.name = name
        self._process = process
        self.ports: dict[str, int] = {}
        self.page_port = 0  # 0: it has no page.

    def __enter__(self) -> Self:
        self._process.start()
        if isinstance(self._process, parts.CollectorProcess):
            endpoints = (self._process.endpoints[name] for name in _PORT_VARIABLES)
            grpc_port, http_port = (int(endpoint.rpartition(":")[2]) for endpoint in endpoints)
        else:
            serving = self._process.wait_for("action=serving", timeout_s=120)
            found = re.search(r"gRPC (\d+), HTTP (\d+)", serving)
            assert found is not None, serving
            grpc_port, http_port = int(found[1]), int(found[2])
            if page := re.search(r"page https?://[^ ]*:(\d+)/", serving):
                self.page_port = int(page[1])
        self.ports = {"grpc": grpc_port, "http": http_port}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()

    def cpu_s(self) -> float:
        """User and system time so far of all its threads and children."""
        times = [process.cpu_times() for process in self._tree()]
        return sum(each.user + each.system for each in times)

    def rss_mib(self) -> float:
        """Physical memory now, of the children too."""
        return sum(process.memory_info().rss for process in self._tree()) / 2**20

    def _tree(self) -> list[psutil.Process]:
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]


def otel_sla(
    folder: Path,
    *,
    name: str = "otel-sla",
    command: Sequence[str] = (sys.executable, "-m", "otel_sla"),
    agreements: Sequence[Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    has_page: bool = True,
) -> Subject:
    """Ours, with a durable ledger in `folder`.

    Args:
        folder: Exists.
        name: For tables.
        command: Runs otel-sla; by default that of this tree.
        agreements: As the configuration has them; by default one, of a series for each service and route.
        settings: More of the configuration, by its top-level keys.
        has_page: Older versions have no status page to be left out.
    """
    config = {
        "page": None,
        "receivers": {
            "otlp": {"protocols": {"grpc": {"endpoint": "127.0.0.1:0"}, "http": {"endpoint": "127.0.0.1:0"}}}
        },
        "ledger": {"url": f"sqlite:///{folder}/ledger.db"},
        "agreements": list(agreements or [agreement()]),
        **(settings or {}),
    }
    if not has_page:
        del config["page"]
    path = folder / "otel-sla.yaml"
    path.write_text(yaml.safe_dump(config))
    return Subject(name, parts.LoggedProcess([*command, "run", "--config", str(path)]))


def otel_sla_of(checkout: Path, folder: Path) -> Subject:
    """The otel-sla that is installed in another checkout of this repository.

    Args:
        checkout: Has a `.venv`: `make .venv/.installed` there makes it.
        folder: Exists; its ledger's own.
    """
    return otel_sla(
        folder,
        name=f"otel-sla of {checkout.name}",
        command=[str(command_of(checkout))],
        has_page=(checkout / "otel_sla" / "page").exists(),
    )


def command_of(checkout: Path) -> Path:
    """The command otel-sla of a checkout."""
    return checkout / ".venv" / "bin" / "otel-sla"


def agreement(name: str = "chat", watched: int = 1) -> dict[str, Any]:
    """One agreement that covers all, a series for each service and route, with rules on `watched` more attributes."""
    keys = ["feature.stage", "user_agent.original", "url.path", "client.address", "server.address", "url.scheme"]
    keys += [f"http.request.header.x-request-detail-{number}" for number in range(watched - len(keys))]
    return {
        "name": name,
        "covered_service": {"resource": {"service.name": "chat-*", "deployment.environment.name": "production"}},
        "group_by": ["service.name", "http.route"],
        "valid_requests": {"invalid": [{"span": {key: ["alpha", "beta-*"]}} for key in keys[:watched]]},
    }


def receiver(name: str) -> Subject:
    """One of `receivers.py`."""
    command = [sys.executable, str(Path(__file__).with_name("receivers.py")), name]
    return Subject(name, parts.LoggedProcess(command))


def collectors(folder: Path, binary: Path) -> list[Subject]:
    """A real Collector that forgets what it gets, and one that counts it with spanmetrics."""
    protocols = {
        "grpc": {"endpoint": "${env:OTLP_GRPC}", "max_recv_msg_size_mib": 64},
        "http": {"endpoint": "${env:OTLP_HTTP}", "max_request_body_size": 64 * 2**20},
    }
    common = {
        "receivers": {"otlp": {"protocols": protocols}},
        "exporters": {"nop": {}},
        "service": {"telemetry": {"metrics": {"level": "none"}}},
    }
    spanmetrics = {
        "histogram": {"disable": True},
        "dimensions": [{"name": "http.route"}, {"name": "http.response.status_code"}],
    }
    pipelines: dict[str, dict[str, Any]] = {
        "collector nop": {"traces": {"receivers": ["otlp"], "exporters": ["nop"]}},
        "collector spanmetrics": {
            "traces": {"receivers": ["otlp"], "exporters": ["spanmetrics"]},
            "metrics": {"receivers": ["spanmetrics"], "exporters": ["nop"]},
        },
    }
    subjects = []
    for name, of_name in pipelines.items():
        config = {**common, "service": {**common["service"], "pipelines": of_name}}
        if "metrics" in of_name:
            config["connectors"] = {"spanmetrics": spanmetrics}
        path = folder / f"{name.replace(' ', '-')}.yaml"
        path.write_text(yaml.safe_dump(config))
        subjects.append(Subject(name, parts.CollectorProcess(binary, path, _PORT_VARIABLES)))
    return subjects


def find_collector() -> Path | None:
    """The Collector of the acceptance tests, if it is built (`make parts`)."""
    try:
        return parts.find_part(parts.collector_path())
    except parts.PartUnavailable:
        return None
