"""`exporters.debug`: logs each event, and each minute whose state differs from that of the minute before.

It runs when the configuration names no backend.
"""

import logging
from collections.abc import Sequence

from otel_sla.exporter.refusal import Answer
from otel_sla.sla.agreement import Outcome
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.events import Event, Severity
from otel_sla.sla.figures_text import minute_text
from otel_sla.sla.uptime import MinuteFigures

_log = logging.getLogger(__name__)

_LEVELS = {Severity.INFO: logging.INFO, Severity.WARN: logging.WARNING, Severity.ERROR: logging.ERROR}
_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class DebugSender:
    """Implements `exporter.delivery.Sender`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: dict[int, tuple[int, MinuteState]] = {}  # Series -> (epoch minute, its state).

    def send_events(self, events: Sequence[Event]) -> Answer:
        """Log one line for each event."""
        for event in events:
            # A group's key may be any text, also the name of a field that every log record has.
            fields = {key: value for key, value in event.attributes.items() if key not in _RECORD_FIELDS}
            fields["action"] = event.name.removeprefix("sla.").replace(".", "_")
            _log.log(_LEVELS[event.severity], "%s", event.body, extra=fields)
        return Answer()

    def send_figures(self, figures: Sequence[MinuteFigures]) -> Answer:
        """Log one line for each minute that differs from the one before; for revised minutes there are events."""
        for minute in figures:
            last_minute, last_state = self._last.get(minute.series.series_id, (-1, None))
            if minute.epoch_minute <= last_minute:
                continue
            self._last[minute.series.series_id] = (minute.epoch_minute, minute.state)
            # A series that begins with a minute that is up needs no line.
            if minute.state is not (last_state or MinuteState.UP):
                _log.info(
                    "%s: %s%s in the minute of %s, %d of %d requests failed",
                    minute.series.phrase,
                    minute.state.wire_name,
                    "" if last_state is None else f" after {last_state.wire_name}",
                    minute_text(minute.epoch_minute),
                    minute.counts[Outcome.FAILED],
                    minute.valid,
                    extra={"action": "minute_state_changed", "exporter": self._name},
                )
        return Answer()

    def close(self) -> None:
        """Nothing is open."""
