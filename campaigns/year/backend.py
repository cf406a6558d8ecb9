"""The backend of the year: it keeps which events it took and the newest figures, and is away now and then."""

from contextlib import ExitStack
from typing import Any

from capture import Backend, Captured, backend, uids_of
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

Attributes = tuple[tuple[str, str], ...]


class YearBackend:
    """OTLP over HTTP, on one port for the whole year."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._backend: Backend | None = None
        self._port = 0
        self.uids: set[str] = set()
        self.budgets: dict[Attributes, NumberDataPoint] = {}  # sla.downtime.budget, the newest of each series.
        self.n_points = 0
        self.come()

    @property
    def is_there(self) -> bool:
        """Whether it answers."""
        return self._backend is not None

    def settings(self, signals: list[str]) -> dict[str, Any]:
        """The exporter that finds it."""
        endpoint = f"http://127.0.0.1:{self._port}"
        return {"otlp_http": {"endpoint": endpoint, "timeout": "10s", "interval": "1s", "signals": signals}}

    def come(self) -> None:
        """Serve, on the port of before."""
        self._backend = self._stack.enter_context(backend("http", port=self._port))
        self._port = int(self._backend.address.rpartition(":")[2])

    def go(self) -> None:
        """Be away."""
        self.digest()
        self._backend = None
        self._stack.close()

    def digest(self) -> None:
        """Take what matters of what has come, and forget the rest."""
        if self._backend is None:
            return
        captured, live = Captured(), self._backend.captured
        captured.requests, live.requests = live.requests, captured.requests
        self.uids.update(uids_of(captured.log_records()))
        for point in captured.points("sla.downtime.budget"):
            self.n_points += 1
            key = tuple(sorted((pair.key, pair.value.string_value) for pair in point.attributes))
            newest = self.budgets.get(key)
            if newest is None or newest.time_unix_nano <= point.time_unix_nano:
                self.budgets[key] = point

    def budget(self, agreement: str, group: dict[str, str]) -> float | None:
        """Seconds of downtime that the series' month still allows, by its newest point; None: no point came."""
        key = tuple(sorted({"sla.agreement.name": agreement, **group}.items()))
        point = self.budgets.get(key)
        return None if point is None else point.as_double
