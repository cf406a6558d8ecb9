"""Prometheus and VictoriaMetrics as a user runs them, and what a range query shows of them."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import beside
import parts

Labels = frozenset[tuple[str, str]]


class BackendProcess(parts.LoggedProcess):
    """A metrics backend on a port of its own; used as a context it serves when the body starts.

    Args:
        command: What it is started with; `{port}` stands where the port belongs.
        ready: Path that is answered with success once it serves.
        query_options: What each query says besides.
        flush: Path to be asked before each query, so that what has arrived is seen at once.
    """

    ATTEMPTS = 3

    def __init__(
        self, command: list[str], ready: str, query_options: Mapping[str, str] | None = None, flush: str = ""
    ) -> None:
        super().__init__(command)
        self._template = command
        self._ready = ready
        self._query_options = dict(query_options or {})
        self._flush = flush
        self.url = ""

    def start(self) -> None:
        """Start it and return when it serves. Should the port be taken meanwhile, it is tried again on others."""
        for attempt in range(self.ATTEMPTS):
            (port,) = parts.free_ports(1)
            self.url = f"http://127.0.0.1:{port}"
            self.command = [argument.replace("{port}", str(port)) for argument in self._template]
            super().start()
            try:
                self.wait_until(self._is_ready)
            except parts.ProcessEnded:
                self.kill()
                was_taken = any("address already in use" in line for line in self.lines)
                if not was_taken or attempt == self.ATTEMPTS - 1:
                    raise
            else:
                return

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + self._ready, timeout=5) as answer:  # noqa: S310  our own process
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def call(self, path: str, options: Mapping[str, str]) -> Any:  # noqa: ANN401  JSON values
        """What the API answers."""
        query = urllib.parse.urlencode({**options, **self._query_options})
        for asked in (self._flush, f"{path}?{query}") if self._flush else (f"{path}?{query}",):
            with urllib.request.urlopen(self.url + asked, timeout=20) as answer:  # noqa: S310  our own process
                said = answer.read()
        return json.loads(said)

    def query_range(self, query: str, minutes: range) -> dict[Labels, dict[int, float]]:
        """A range query with a step of one minute: for each series its value in the minutes that it has one for.

        A minute's point bears the time of its end, so that is where it is looked for.
        """
        start, stop = (60 * (minute + 1) for minute in (minutes.start, minutes.stop - 1))
        answer = self.call("/api/v1/query_range", {"query": query, "start": str(start), "end": str(stop), "step": "60"})
        return {
            frozenset(series["metric"].items()): {
                int(moment) // 60 - 1: float(value) for moment, value in series["values"]
            }
            for series in answer["data"]["result"]
        }

    def line(self, query: str, minutes: range) -> dict[int, float]:
        """The only series of a range query, by minute; empty if there is none."""
        found = self.query_range(query, minutes)
        assert len(found) <= 1, f"one line in the graph, not {[dict(labels) for labels in found]}"
        return next(iter(found.values()), {})

    def names(self) -> set[str]:
        """The names of all metrics, as a user is offered them."""
        return set(self.call("/api/v1/label/__name__/values", {})["data"])


def prometheus(binary: Path, folder: Path, config: Path = beside.CONFIGS / "prometheus.yaml") -> BackendProcess:
    """Prometheus with the configuration for users."""
    options = ["--web.enable-otlp-receiver", "--web.listen-address=127.0.0.1:{port}"]
    command = [str(binary), f"--config.file={config}", f"--storage.tsdb.path={folder / 'prometheus'}", *options]
    return BackendProcess(command, "/-/ready")


def victoriametrics(binary: Path, folder: Path, *options: str) -> BackendProcess:
    """VictoriaMetrics. What has come late is only seen by queries that do not ask its cache of results."""
    command = [str(binary), f"-storageDataPath={folder / 'victoriametrics'}", "-httpListenAddr=127.0.0.1:{port}"]
    return BackendProcess([*command, *options], "/health", {"nocache": "1"}, "/internal/force_flush")
