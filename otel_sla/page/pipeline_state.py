"""What `/pipeline` shows, out of the pipeline's own metrics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from otel_sla.page.live import LiveState
from otel_sla.self_metrics import FAILURES
from otel_sla.sla.agreement import Outcome

_ACCEPTED = "otelcol_receiver_accepted_spans"
_RATE_OF_S = 30  # A look longer ago says nothing of now; without script there is one every ten seconds.

# Name of the metric, and what became of the spans that it counts.
_REFUSED = (
    ("otelcol_receiver_refused_spans", "Refused: not durable in time, the sender sends them again"),
    ("otelcol_receiver_failed_spans", "Lost to an internal error"),
    ("sla.receiver.late_spans", "Refused: too late, their minute is sealed"),
    ("sla.receiver.future_spans", "Refused: too far ahead of the clock"),
    ("sla.receiver.malformed_spans", "Refused: without an end time"),
)
_COUNTED = (
    ("sla.receiver.duplicate_spans", "Repeats, not counted again"),
    ("sla.receiver.overflow_spans", "Counted in an overflow series"),
    ("sla.receiver.unusable_status_spans", "Counted, with a status attribute that cannot be read"),
    ("sla.receiver.unusable_threshold_spans", "Counted, with a sampling threshold that cannot be read"),
    ("sla.receiver.unknown_parent_spans", "Counted, without saying whether their parent is remote"),
    ("sla.receiver.sampled_spans", "Counted, of sampled traces"),
    ("sla.receiver.spared_requests", "Counted as succeeded: their code spares a failing HTTP status"),
)


@dataclass(frozen=True, slots=True)
class ExporterState:
    """One exporter's sending of one kind of data."""

    exporter: str
    data_type: str
    n_waiting: int
    oldest_age_s: float
    last_success_unix_s: float | None
    failed: tuple[tuple[str, int], ...]  # Attempts since the start, by where the reason lies.


class AcceptedSpans:
    """How many spans are accepted in a second, out of what was seen at each look at the pipeline."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, int]] = []  # Unix time in ns, and spans accepted until then; the oldest first.

    def per_second(self, live: LiveState | None) -> tuple[Fraction, Fraction] | None:
        """Give the rate, and the seconds that it is of; None: there was no other look lately."""
        if live is None:
            return None
        now, n_accepted = live.now_unix_nano, sum(int(value) for name, _, value in live.points if name == _ACCEPTED)
        self._seen = [each for each in self._seen if now - _RATE_OF_S * 10**9 <= each[0] < now]
        self._seen.append((now, n_accepted))
        before, n_before = self._seen[0]
        if before == now:
            return None
        seconds = Fraction(now - before, 10**9)
        return (n_accepted - n_before) / seconds, seconds


@dataclass(frozen=True, slots=True)
class PipelineState:
    """How the pipeline does."""

    n_accepted: int  # Spans since the start, as the next ones.
    refused: tuple[tuple[str, int], ...]  # What became of spans, and of how many.
    counted: tuple[tuple[str, int], ...]
    requests_last_minute: int  # Covered requests of the last full minute.
    requests_running: int
    exporters: tuple[ExporterState, ...]
    sums: Mapping[str, float]  # By name of the metric.

    @property
    def sampled_share(self) -> Fraction | None:
        """Share of the counted spans that bear a sampling threshold; None without any."""
        sampled = int(self.sums.get("sla.receiver.sampled_spans", 0))
        return Fraction(sampled, self.n_accepted) if self.n_accepted else None


def pipeline_state(live: LiveState | None) -> PipelineState | None:
    """Put it together; None: the pipeline does not answer."""
    if live is None:
        return None
    sums: dict[str, float] = {}
    for name, _, value in live.points:
        sums[name] = sums.get(name, 0) + value
    minutes = live.minutes
    requests = minutes.outcomes[:, [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.INVALID]].sum(axis=1)
    return PipelineState(
        n_accepted=int(sums.get(_ACCEPTED, 0)),
        refused=tuple((why, int(sums.get(name, 0))) for name, why in _REFUSED),
        counted=tuple(_counted(live)),
        requests_last_minute=int(requests[minutes.epoch_minute == minutes.newest_minute - 1].sum()),
        requests_running=int(requests[minutes.epoch_minute == minutes.newest_minute].sum()),
        exporters=tuple(_exporters(live)),
        sums=sums,
    )


def _exporters(live: LiveState) -> Iterator[ExporterState]:
    by_kind: dict[tuple[str, str], dict[str, float]] = {}
    for name, attributes, value in live.points:
        if "exporter" in attributes and "data_type" in attributes:
            key = attributes.get("reason", name)
            by_kind.setdefault((attributes["exporter"], attributes["data_type"]), {})[key] = value
    for (exporter, data_type), values in by_kind.items():
        if "otelcol_exporter_queue_size" in values:
            yield ExporterState(
                exporter,
                data_type,
                int(values["otelcol_exporter_queue_size"]),
                values.get("sla.exporter.oldest_age", 0.0),
                values.get("sla.exporter.last_success_timestamp"),
                tuple((reason, int(values[reason])) for reason in FAILURES if values.get(reason)),
            )


def _counted(live: LiveState) -> Iterator[tuple[str, int]]:
    for metric, what in _COUNTED:
        points = [(attributes, int(value)) for name, attributes, value in live.points if name == metric]
        keys = ", ".join(attributes["key"] for attributes, value in points if value and "key" in attributes)
        yield f"{what} ({keys})" if keys else what, sum(value for _, value in points)
