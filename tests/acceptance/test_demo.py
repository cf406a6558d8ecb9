"""The demo, from the SDK's spans to the month's figure."""

import time

import pytest
from typer.testing import CliRunner

from otel_sla.cli import app
from otel_sla.jit import is_cache_warm

EVENTS = """\
  00:06  sla.downtime.started
         shop (service.name=checkout): downtime started at 2026-11-01T00:06:00Z
  00:21  sla.downtime.ended
         shop (service.name=checkout): downtime of 2026-11-01T00:06:00Z ended
         after 15 min, 450 of 750 requests failed
  00:48  sla.downtime.started
         shop (service.name=checkout): downtime started at 2026-11-01T00:48:00Z
  00:55  sla.target.breached
         shop (service.name=checkout): 2026-11 has more than 21 minutes of
         downtime, its 99.95 % cannot be kept
  00:57  sla.downtime.ended
         shop (service.name=checkout): downtime of 2026-11-01T00:48:00Z ended
         after 9 min, 27 of 450 requests failed
"""
CELLS = """\
            00:00     00:10     00:20     00:30     00:40     00:50
  checkout  ......XXXXXXXXXXXXXXX...................._____..XXXXXXXXX...
  catalog   ............................................................
"""
PHASES = {
    "outage": "X down",
    "partial outage, below 5 %": ". up",
    "partial outage of exactly 5 %": ". up",
    "silence": "_ no data",
    "partial outage, above 5 %": "X down",
}


def test_the_whole_show() -> None:
    """`otel-sla demo` from nothing: events, minutes and figure of the hour, the same at backend and ledger, in 30 s."""
    limit_s = 30 if is_cache_warm() else 90
    started_s = time.monotonic()
    result = CliRunner().invoke(app, ["demo"], prog_name="otel-sla")
    took_s = time.monotonic() - started_s
    assert (result.exit_code, result.exception) == (0, None), result.output
    text = result.stdout
    assert f"\n\n{EVENTS}\n" in text
    assert f"\n\n{CELLS}\n" in text
    lines = text.splitlines()
    for what, judged in PHASES.items():
        assert [line for line in lines if what in line and line.endswith(judged)], what
    figures = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  sla.")}
    assert figures["sla.monthly_uptime"] == ["0.99944444", "1.00000000"]
    assert figures["sla.downtime.budget"] == ["-180", "s", "1260", "s"]
    assert [line for line in lines if "99.94444 %" in line and "BREACHED" in line and "24 of 21 min" in line]
    assert "5350 spans sent" in text
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in text
    assert took_s < limit_s


def test_spans_that_do_not_arrive_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that switches the SDK off: one clear line and exit code 1, no show without spans."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    result = CliRunner().invoke(app, ["demo"], prog_name="otel-sla")
    assert result.exit_code == 1
    assert result.stderr.startswith("otel-sla: error: 88 spans were made, 0 acknowledged;")
    assert "Traceback" not in result.output
