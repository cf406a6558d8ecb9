"""What the backend received, as text for a terminal of 80 columns.

Colour only repeats what the characters say. What is shown was received over OTLP; beside it stands what was sent.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from rich.text import Text

from otel_sla.cli.demo.backend import Point
from otel_sla.cli.demo.traffic import Phase, timeline
from otel_sla.exporter.otlp_data import GAUGES, MINUTE_STATE, SUMS
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.figures_text import percent_text, ratio_text

WIDTH = 80
GROUP_KEY = "service.name"
MINUTE_STATUS = next(metric.name for metric in SUMS if metric.attribute == MINUTE_STATE)

_NANOS_PER_S = 1_000_000_000
_RULER_MINUTES = 10
_CELLS = {
    MinuteState.UP.wire_name: (".", "black on green"),
    MinuteState.DOWN.wire_name: ("X", "bold white on red"),
    MinuteState.EXCLUDED.wire_name: ("e", "black on cyan"),
    MinuteState.LOW_TRAFFIC.wire_name: ("~", "black on yellow"),
    MinuteState.NO_DATA.wire_name: ("_", "black on white"),
}
_UNKNOWN = ("?", "")

States = Sequence[str | None]  # One for each minute of the hour; None if no point came for it.


def states_of(points: Iterable[Point], start_minute: int, n_minutes: int) -> dict[str, list[str | None]]:
    """Read the states of consecutive minutes from points of `MINUTE_STATUS`, a later one replacing an earlier one.

    Returns:
        By the group's value.
    """
    states: dict[str, list[str | None]] = {}
    for point in points:
        # A point carries the time of its minute's end.
        index = point.time_unix_nano // (60 * _NANOS_PER_S) - 1 - start_minute
        if point.value and 0 <= index < n_minutes:
            row = states.setdefault(str(point.attributes[GROUP_KEY]), [None] * n_minutes)
            row[index] = str(point.attributes[MINUTE_STATE])
    return states


def render_cells(states: Mapping[str, States], start_minute: int) -> Text:
    """Draw one row of cells for each series, under a ruler, with a legend of the states that occur."""
    name_width = max(map(len, states))
    ticks = range(0, max(map(len, states.values())), _RULER_MINUTES)
    ruler = "".join(f"{_clock_text(60 * (start_minute + index)):<{_RULER_MINUTES}}" for index in ticks)
    lines = [Text(f"  {'':<{name_width}}  {ruler.rstrip()}")]
    for name, row in states.items():
        lines.append(Text.assemble(f"  {name:<{name_width}}  ", *(_CELLS.get(state or "", _UNKNOWN) for state in row)))
    occurring = {state for row in states.values() for state in row}
    legend = _joined(state for state in (*_CELLS, None) if state in occurring)
    return Text("\n").join([*lines, Text(), Text(f"  {'':<{name_width}}  ") + legend])


def render_event(event: LogRecord) -> Text:
    """Write when an event happened, its name, and what it says."""
    time = _clock_text(event.time_unix_nano // _NANOS_PER_S)
    style = {17: "bold red", 13: "yellow"}.get(event.severity_number, "bold")
    lines = textwrap.wrap(event.body.string_value, WIDTH - 9)
    return Text.assemble(f"  {time}  ", (event.event_name, style), *(f"\n         {line}" for line in lines))


def render_phases(phases: Sequence[Phase], states: States, start_minute: int) -> Text:
    """Set what was sent beside the states that came back."""
    lines = [Text(f"  {'from':<5}  {'':>6}  {'requests':<30}{'failed of valid':>15}  {'':>4}  judged", style="bold")]
    for index, phase in timeline(phases):
        sent, rate = "-", "-"
        if phase.valid:
            sent, rate = f"{phase.failed} of {phase.valid}", percent_text(Fraction(phase.failed, phase.valid), 0)
        judged = dict.fromkeys(states[index : index + phase.minutes])  # In their order, each once.
        time = _clock_text(60 * (start_minute + index))
        row = f"  {time}  {phase.minutes:>2} min  {phase.what:<30}{sent:>15}  {rate:>4}  "
        lines.append(Text(row) + _joined(judged))
    return Text("\n").join(lines)


def render_gauges(points_of: Mapping[str, Sequence[Point]]) -> Text:
    """Write the newest point of each gauge for each series; takes points by the metric's name, as they arrived."""
    groups = list(dict.fromkeys(str(point.attributes[GROUP_KEY]) for points in points_of.values() for point in points))
    lines = [Text(f"  {'':<28}" + "".join(f"{group:>14}" for group in groups), style="bold")]
    for gauge in GAUGES:
        newest = {str(point.attributes[GROUP_KEY]): point.value for point in points_of.get(gauge.name, ())}
        cells = "".join(f"{_value_text(newest[group], gauge.unit) if group in newest else '-':>14}" for group in groups)
        lines.append(Text(f"  {gauge.name:<28}{cells}"))
    return Text("\n").join(lines)


def _value_text(value: float, unit: str) -> str:
    # By its shortest decimal: 0.9995 as a float lies below 0.9995, and truncated would be shown as less.
    return ratio_text(Fraction(str(value))) if unit == "1" else f"{value:g} {unit}"


def _joined(states: Iterable[str | None]) -> Text:
    """Cells with their meaning, side by side."""
    return Text("   ").join(
        Text.assemble(_CELLS.get(state or "", _UNKNOWN), f" {(state or 'no point came').replace('_', ' ')}")
        for state in states
    )


def _clock_text(unix_s: int) -> str:
    return f"{datetime.fromtimestamp(unix_s, tz=UTC):%H:%M}"
