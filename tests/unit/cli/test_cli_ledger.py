"""`otel-sla ledger` and `otel-sla outbox`, beside a pipeline that has the ledger open."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from cli_parts import invoke, ledger_url, lines_of, open_ledger, write_config
from ledger_parts import listed, make_event

from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, RefusedPoints, SetAside
from otel_sla.ledger.writer import Ledger

MINUTE = 29_365_920  # 2025-11-01T00:00:00Z.
AGREEMENTS = "  - name: chat\nexporters: {otlp: {endpoint: 'localhost:1'}, debug: {}}\n"
NOTIFICATIONS = "notifications: {ops: {urls: 'json://localhost:1'}}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write a configuration of one agreement, two exporters and a target of notifications."""
    return write_config(tmp_path, AGREEMENTS + NOTIFICATIONS)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Hold a ledger open as a pipeline does, with three events."""
    with closing(open_ledger(tmp_path, [b"chat-1"], [(MINUTE, 0, 5, 1, 0)])) as opened:
        events = tuple(replace(make_event(f"uid-{n}"), body=f"chat is down {n}") for n in range(3))
        opened.close_minutes(Closing(judged_before=MINUTE + 1, sealed_before=None, events=events))
        yield opened


def test_a_sound_ledger_is_named(config: Path, ledger: Ledger) -> None:
    """`ledger check` while the pipeline writes: one line, exit code 0."""
    (line,) = lines_of(invoke("ledger", "check", "-c", config))
    assert line == f"the ledger {ledger.path} is sound, read together with its log {ledger.path}-wal"


def test_damage_of_a_ledger_is_printed(config: Path, ledger: Ledger) -> None:
    """A row that refers to nothing: what is wrong and what to do, exit code 1."""
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.execute(
            "INSERT INTO counts (epoch_minute, series_id, succeeded, failed, invalid) VALUES (1, 99, 1, 0, 0)"
        )
        connection.commit()
    result = invoke("ledger", "check", "-c", config)
    assert (result.exit_code, result.stdout) == (1, "")
    first, second = result.stderr.splitlines()
    assert first == f"otel-sla: error: the ledger {ledger.path} is damaged: counts: a row refers to nothing"
    assert second.startswith("otel-sla: hint: restore a backup")


def test_a_backup_is_a_ledger_of_its_own(config: Path, ledger: Ledger, tmp_path: Path) -> None:
    """`ledger backup` while the pipeline writes: a file with all that was committed; an existing one stays as it is."""
    copy = tmp_path / "copy.db"
    (line,) = lines_of(invoke("ledger", "backup", copy, "-c", config))
    assert line == f"the ledger {ledger.path} is copied to {copy}, {copy.stat().st_size} bytes"
    with closing(LedgerReader.open(f"sqlite:///{copy}")) as reader:
        assert listed(reader.counts(0, MINUTE + 1)) == [(MINUTE, 0, 5, 1, 0)]
        assert len(reader.events_after(0, 9)) == 3
    again = invoke("ledger", "backup", copy, "-c", config)
    assert again.exit_code == 1
    assert f"cannot back up to {copy}: it exists" in again.stderr


def test_the_outbox_shows_what_waits_and_what_was_set_aside(config: Path, ledger: Ledger) -> None:
    """An exporter that refused an event and figures, one that never came, one that is gone: how far, and why not."""
    refused = SetAside(2, "INVALID_ARGUMENT: too \x1b[31mlong", 1_762_000_000_000_000_000)
    points = RefusedPoints(30, MINUTE, MINUTE, "no\x07", 1_762_000_060_000_000_000)
    ledger.advance_cursor("otlp", event_id=2, exported_before=MINUTE + 1, set_aside=(refused,), refused=points)
    ledger.advance_cursor("old", event_id=1)
    lines = lines_of(invoke("outbox", "list", "-c", config))
    minute = "from 2025-11-01 00:00 UTC to 2025-11-01 00:01 UTC"
    assert lines == [
        "otlp: 1 event waits, 1 set aside; figures delivered up to 2025-11-01 00:01 UTC",
        f"  30 points of figures refused, {minute}; last at 2025-11-01 12:27:40 UTC: no\ufffd",
        "  event 2, set aside at 2025-11-01 12:26:40 UTC: INVALID_ARGUMENT: too \ufffd[31mlong",
        "    sla.downtime.started: chat is down 1",
        "debug: 3 events wait, 0 set aside; no figures delivered yet",
        "notifications/ops: 3 events wait, 0 set aside; no figures delivered yet",
        "old (not configured): 2 events wait, 0 set aside; no figures delivered yet",
    ]
    assert lines_of(invoke("outbox", "list", "-c", config, "--exporter", "old")) == lines[-1:]
    unknown = invoke("outbox", "list", "-c", config, "--exporter", "otlpp")
    assert unknown.exit_code == 2
    assert "there is no exporter 'otlpp'; did you mean 'otlp'?" in unknown.stderr


@pytest.mark.parametrize("command", [("ledger", "check"), ("ledger", "backup", "x.db"), ("outbox", "list")])
def test_without_a_ledger_an_error_is_printed(config: Path, command: tuple[str, ...]) -> None:
    """No ledger yet: one line and what to do, exit code 1."""
    result = invoke(*command, "-c", config)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"otel-sla: error: there is no ledger {ledger_url(config.parent)[10:]}\n")
