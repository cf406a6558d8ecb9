"""What the backend received, as text."""

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from rich.console import Console
from rich.text import Text

from otel_sla.cli.demo.backend import Point, Value
from otel_sla.cli.demo.rendering import _CELLS, render_cells, render_event, render_gauges, render_phases, states_of
from otel_sla.cli.demo.traffic import START_MINUTE, Phase
from otel_sla.exporter.otlp_data import GAUGES
from otel_sla.sla.downtime import MinuteState

NANOS_PER_MINUTE = 60_000_000_000


def status(group: str, index: int, state: str, value: int = 1) -> Point:
    """A point of `sla.minute.status` for a minute of the hour."""
    attributes: dict[str, Value] = {"service.name": group, "sla.minute.state": state}
    return Point(attributes, (START_MINUTE + index + 1) * NANOS_PER_MINUTE, value)


def test_states_are_read_from_the_points() -> None:
    """Points of two series: 1 names the state, 0 nothing, a later point replaces, a minute without one is None."""
    points = [
        status("a", 0, "up"),
        status("a", 0, "down", 0),
        status("b", 0, "no_data"),
        status("a", 2, "up"),
        status("a", 2, "down"),
        status("a", 3, "up"),
        status("a", -1, "up"),
    ]
    assert states_of(points, START_MINUTE, 3) == {"a": ["up", None, "down"], "b": ["no_data", None, None]}


def test_every_state_has_a_cell_of_its_own() -> None:
    """All states of a minute: each has a character that no other has, so that colour is never needed."""
    assert set(_CELLS) == {state.wire_name for state in MinuteState}
    assert len({sign for sign, _ in _CELLS.values()}) == len(MinuteState)
    assert all(len(sign) == 1 and sign.isascii() for sign, _ in _CELLS.values())


def test_cells_stand_under_their_time() -> None:
    """Two series of twelve minutes: one row each under a ruler, and a legend of the states that occur."""
    row = ["up"] * 4 + ["down"] * 6 + ["no_data", None]
    text = render_cells({"checkout": row, "a": ["up"] * 12}, START_MINUTE)
    assert text.plain.splitlines() == [
        "            00:00     00:10",
        "  checkout  ....XXXXXX_?",
        "  a         ............",
        "",
        "            . up   X down   _ no data   ? no point came",
    ]


def printed(text: Text) -> str:
    """What a terminal gets."""
    console = Console(force_terminal=True, color_system="standard", legacy_windows=False)
    with console.capture() as captured:
        console.print(text)
    return captured.get()


def test_cells_are_coloured() -> None:
    """A minute up and one down: green and red, for eyes that see them."""
    row = printed(render_cells({"a": ["up", "down"]}, START_MINUTE)).splitlines()[1]
    assert row == "  a  \x1b[30;42m.\x1b[0m\x1b[1;37;41mX\x1b[0m"


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is set: no colour in the cells, and the same characters."""
    monkeypatch.setenv("NO_COLOR", "1")
    row = printed(render_cells({"a": ["up", "down"]}, START_MINUTE)).splitlines()[1]
    assert "42" not in row
    assert Text.from_ansi(row).plain == "  a  .X"


def test_an_event_says_when_and_what() -> None:
    """An event with a long text: its time, its name, and the text in lines of at most 80 columns."""
    event = LogRecord(
        event_name="sla.downtime.ended",
        time_unix_nano=(START_MINUTE + 21) * NANOS_PER_MINUTE,
        severity_number=9,
        body=AnyValue(string_value="shop (service.name=checkout): " + "many words " * 10),
    )
    lines = render_event(event).plain.splitlines()
    assert lines[0] == "  00:21  sla.downtime.ended"
    assert lines[1].startswith("         shop (service.name=checkout): many words")
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80


def test_phases_stand_beside_their_states() -> None:
    """What was sent and what came back: the failed among the valid, their share, and each state that occurred once."""
    phases = [Phase("outage", 3, 50, 30), Phase("silence", 2, 0, 0)]
    text = render_phases(phases, ["up", "down", "down", "no_data", "no_data"], START_MINUTE).plain
    assert [line.split("  ") for line in text.splitlines()[1:]] == [
        line.split("  ")
        for line in (
            "  00:00   3 min  outage                               30 of 50  60 %  . up   X down",
            "  00:03   2 min  silence                                     -     -  _ no data",
        )
    ]


def test_gauges_show_their_newest_points() -> None:
    """Gauges of two series, one missing: the newest value of each, truncated, a float as the decimal it stands for."""
    end = START_MINUTE * NANOS_PER_MINUTE
    points = {
        "sla.monthly_uptime": [
            Point({"service.name": "a"}, end, 1.0),
            Point({"service.name": "a"}, end + 1, 0.99949074),
        ],
        "sla.monthly_uptime.target": [Point({"service.name": name}, end, 0.9995) for name in "ab"],
        "sla.downtime.budget": [Point({"service.name": "a"}, end, -180.0)],
    }
    lines = render_gauges(points).plain.splitlines()
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:]}
    assert lines[0].split() == ["a", "b"]
    assert set(shown) == {gauge.name for gauge in GAUGES}
    assert shown["sla.monthly_uptime"].split() == ["0.99949074", "-"]
    assert shown["sla.monthly_uptime.target"].split() == ["0.99950000", "0.99950000"]
    assert shown["sla.downtime.budget"].split() == ["-180", "s", "-"]
