"""The small tables: from rows to values and back."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from datetime import datetime

from otel_sla.errors import LedgerError
from otel_sla.ledger.records import (
    AgreementVersion,
    ClosedMonth,
    CountedDay,
    ExclusionRecord,
    Json,
    Position,
    RefusedPoints,
    Reopened,
    Retold,
    SetAside,
    StoredEvent,
    Withdrawal,
)
from otel_sla.sla.agreement import ExclusionReason, ExclusionWindow
from otel_sla.sla.counts import N_OUTCOMES, Count, CountsBeside
from otel_sla.sla.events import Event, Severity
from otel_sla.sla.series import Series

_BEFORE = [f"{count.name.lower()}_before" for count in Count]


def to_json(value: Json | None) -> str | None:
    """Give JSON text that is the same for the same value."""
    return None if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))


def add_series(connection: sqlite3.Connection, new_series: Sequence[Series]) -> None:
    """Keep new series; values are bytes as they were sent."""
    for series in new_series:
        connection.execute(
            "INSERT INTO series (series_id, agreement, is_overflow) VALUES (?, ?, ?)",
            (series.series_id, series.agreement, int(series.is_overflow)),
        )
        connection.executemany(
            "INSERT INTO series_group (series_id, place, key, value) VALUES (?, ?, ?, ?)",
            [(series.series_id, place, key, value) for place, (key, value) in enumerate(series.group)],
        )


def read_series(connection: sqlite3.Connection) -> tuple[Series, ...]:
    """Give all series in the order of their ids."""
    groups: dict[int, list[tuple[str, bytes]]] = {}
    for series_id, key, value in connection.execute(
        "SELECT series_id, key, value FROM series_group ORDER BY series_id, place"
    ):
        groups.setdefault(series_id, []).append((key, value))
    return tuple(
        Series(series_id, agreement, tuple(groups.get(series_id, ())), bool(is_overflow))
        for series_id, agreement, is_overflow in connection.execute(
            "SELECT series_id, agreement, is_overflow FROM series ORDER BY series_id"
        )
    )


def add_events(connection: sqlite3.Connection, events: Sequence[Event]) -> None:
    """Append to the outbox; an event that is there already is left as it is."""
    connection.executemany(
        "INSERT INTO events (uid, name, time_unix_nano, severity, body, attributes) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (uid) DO NOTHING",
        [
            # Order of attributes is the writer's.
            (
                event.uid,
                event.name,
                event.time_unix_nano,
                int(event.severity),
                event.body,
                json.dumps(dict(event.attributes)),
            )
            for event in events
        ],
    )


def read_events(connection: sqlite3.Connection, after_event_id: int, limit: int) -> tuple[StoredEvent, ...]:
    """Give the next events in the order of writing."""
    return tuple(
        StoredEvent(event_id, Event(uid, name, time_unix_nano, Severity(severity), body, json.loads(attributes)))
        for event_id, uid, name, time_unix_nano, severity, body, attributes in connection.execute(
            "SELECT event_id, uid, name, time_unix_nano, severity, body, attributes FROM events"
            " WHERE event_id > ? ORDER BY event_id LIMIT ?",
            (after_event_id, limit),
        )
    )


def keep_reopened(connection: sqlite3.Connection, held: Iterable[tuple[int, ...]]) -> None:
    """Keep what minutes held, (series_id, epoch_minute, *counts), unless it is kept already."""
    columns = ", ".join(_BEFORE)
    marks = ", ".join("?" * len(_BEFORE))
    connection.executemany(
        f"INSERT INTO reopened (series_id, epoch_minute, {columns}) VALUES (?, ?, {marks})"  # noqa: S608 - ours
        " ON CONFLICT (series_id, epoch_minute) DO NOTHING",
        held,
    )


def settle(connection: sqlite3.Connection, told: Sequence[Reopened], held: Iterable[tuple[int, ...]]) -> None:
    """End the re-opening of minutes that were told with the counts in `told`, unless they hold others by now.

    Args:
        connection: In a transaction.
        told: Each minute with the counts that were told.
        held: (series_id, epoch_minute, *counts) as of now, N_COUNTS of them.
    """
    # Whatever else is counted of it, a request is one of the outcomes.
    now = {(series_id, minute): tuple(counts[:N_OUTCOMES]) for series_id, minute, *counts in held}
    connection.executemany(
        f"UPDATE reopened SET {', '.join(f'{name} = ?' for name in _BEFORE)}"  # noqa: S608 - ours
        " WHERE series_id = ? AND epoch_minute = ?",
        [(*minute.counts_before, *minute.beside_before, minute.series_id, minute.epoch_minute) for minute in told],
    )
    connection.executemany(
        "DELETE FROM reopened WHERE series_id = ? AND epoch_minute = ?",
        [
            (minute.series_id, minute.epoch_minute)
            for minute in told
            if now.get((minute.series_id, minute.epoch_minute), (0, 0, 0)) == minute.counts_before
        ],
    )


def read_set_aside(connection: sqlite3.Connection, exporter: str) -> tuple[SetAside, ...]:
    """The events that an exporter's backend will never take."""
    sql = "SELECT event_id, reason, at_unix_nano FROM set_aside WHERE exporter = ? ORDER BY event_id"
    return tuple(SetAside(*row) for row in connection.execute(sql, (exporter,)))


def add_refused_points(connection: sqlite3.Connection, exporter: str, refused: RefusedPoints) -> None:
    """Add to what an exporter's backend has refused."""
    connection.execute(
        "INSERT INTO refused_points (exporter, count, first_minute, last_minute, reason, at_unix_nano)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (exporter) DO UPDATE SET count = count + excluded.count,"
        " first_minute = min(first_minute, excluded.first_minute),"
        " last_minute = max(last_minute, excluded.last_minute),"
        " reason = excluded.reason, at_unix_nano = excluded.at_unix_nano",
        (exporter, *astuple(refused)),
    )


def read_refused_points(connection: sqlite3.Connection, exporter: str) -> RefusedPoints | None:
    """What an exporter's backend has refused so far."""
    row = connection.execute(
        "SELECT count, first_minute, last_minute, reason, at_unix_nano FROM refused_points WHERE exporter = ?",
        (exporter,),
    ).fetchone()
    return None if row is None else RefusedPoints(*row)


def add_closed_months(connection: sqlite3.Connection, closed_months: Sequence[ClosedMonth]) -> None:
    """Append closed months; one that is there already is an error."""
    connection.executemany(
        "INSERT INTO closed_months (agreement, series_id, month, revision, version, figures, closed_unix_nano)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (m.agreement, m.series_id, m.month, m.revision, m.version, to_json(m.figures), m.closed_unix_nano)
            for m in closed_months
        ],
    )


def read_agreement_versions(connection: sqlite3.Connection, agreement: str) -> tuple[AgreementVersion, ...]:
    """All versions of an agreement's terms, oldest first."""
    return tuple(
        AgreementVersion(agreement, version, json.loads(terms), since_minute)
        for version, terms, since_minute in connection.execute(
            "SELECT version, terms, since_minute FROM agreement_versions WHERE agreement = ? ORDER BY version",
            (agreement,),
        )
    )


def add_counted_days(connection: sqlite3.Connection, found: Iterable[tuple[str, int, int, int, int]]) -> None:
    """Keep (agreement, version, day, first minute, last minute) of what was counted."""
    connection.executemany(
        "INSERT INTO counted_days (agreement, version, day, first_minute, last_minute) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (agreement, version, day) DO UPDATE SET first_minute = min(first_minute, excluded.first_minute),"
        " last_minute = max(last_minute, excluded.last_minute)",
        found,
    )


def read_counted_days(connection: sqlite3.Connection, agreement: str) -> tuple[CountedDay, ...]:
    """Which version counted which minutes, in the order of time."""
    sql = (
        "SELECT version, first_minute, last_minute, day < 0 FROM counted_days WHERE agreement = ?"
        " ORDER BY first_minute, last_minute, version"
    )
    return tuple(
        CountedDay(version, first_minute, last_minute, bool(is_derived))
        for version, first_minute, last_minute, is_derived in connection.execute(sql, (agreement,))
    )


def read_told_versions(connection: sqlite3.Connection) -> dict[str, int]:
    """The versions that open months were told by, by the agreement's name."""
    return dict(connection.execute("SELECT agreement, version FROM told_terms"))


def read_closed_months(connection: sqlite3.Connection, agreement: str, month: str) -> tuple[ClosedMonth, ...]:
    """Give a month's closings, by series and revision."""
    return tuple(
        ClosedMonth(agreement, series_id, month, revision, version, json.loads(figures), closed_unix_nano)
        for series_id, revision, version, figures, closed_unix_nano in connection.execute(
            "SELECT series_id, revision, version, figures, closed_unix_nano FROM closed_months"
            " WHERE agreement = ? AND month = ? ORDER BY series_id, revision",
            (agreement, month),
        )
    )


def read_closed_versions(connection: sqlite3.Connection, agreement: str, month: str) -> dict[int, int]:
    """Give series_id -> version of a month's last closing, without its figures, which may be long."""
    # In the order of revisions, so that the last one holds.
    sql = "SELECT series_id, version FROM closed_months WHERE agreement = ? AND month = ? ORDER BY series_id, revision"
    return dict(connection.execute(sql, (agreement, month)))


def last_exclusion_change(connection: sqlite3.Connection) -> int:
    """Give the number of the last recording or withdrawal of an exclusion; 0: there was none."""
    (last,) = connection.execute(
        "SELECT max(coalesce((SELECT max(change) FROM exclusions), 0),"
        " coalesce((SELECT max(change) FROM withdrawals), 0))"
    ).fetchone()
    return int(last)


def read_exclusions(connection: sqlite3.Connection) -> tuple[ExclusionRecord, ...]:
    """Give all exclusions recorded at run time, withdrawn ones too, in the order of recording."""
    withdrawals = {
        exclusion_id: Withdrawal(change, by, datetime.fromisoformat(at), why, _from_json(figures))
        for exclusion_id, change, by, at, why, figures in connection.execute(
            "SELECT exclusion_id, change, withdrawn_by, withdrawn_at, why, figures_before FROM withdrawals"
        )
    }
    rows = connection.execute(
        "SELECT exclusion_id, change, agreement, figures_before, reason, start, stop, group_values, announced_at, note,"
        " recorded_by, recorded_at FROM exclusions ORDER BY exclusion_id"
    )
    return tuple(
        ExclusionRecord(
            exclusion_id, change, agreement, _window(window), _from_json(figures), withdrawals.get(exclusion_id)
        )
        for exclusion_id, change, agreement, figures, *window in rows
    )


def window_row(window: ExclusionWindow) -> tuple[str | None, ...]:
    """Give the columns `reason` to `recorded_at`; times keep the offset that they were given with."""
    assert window.recorded_at is not None, "an exclusion of the ledger says when it was recorded"
    return (
        window.reason.value,
        window.start.isoformat(),
        window.stop.isoformat(),
        None if window.group is None else json.dumps(window.group),
        None if window.announced_at is None else window.announced_at.isoformat(),
        window.note,
        window.recorded_by,
        window.recorded_at.isoformat(),
    )


def _window(row: Sequence[str | None]) -> ExclusionWindow:
    reason, start, stop, group, announced_at, note, recorded_by, recorded_at = row
    return ExclusionWindow(
        reason=ExclusionReason(reason),
        start=datetime.fromisoformat(str(start)),
        stop=datetime.fromisoformat(str(stop)),
        group=None if group is None else tuple((key, value) for key, value in json.loads(group)),
        announced_at=None if announced_at is None else datetime.fromisoformat(announced_at),
        note=str(note),
        recorded_by=str(recorded_by),
        recorded_at=datetime.fromisoformat(str(recorded_at)),
    )


def _from_json(text: str | None) -> Json | None:
    return None if text is None else json.loads(text)


def read_reopened(connection: sqlite3.Connection) -> tuple[Reopened, ...]:
    """Give the re-opened minutes, by series and minute."""
    return tuple(
        Reopened(series_id, minute, (succeeded, failed, invalid), CountsBeside(*beside))
        for series_id, minute, succeeded, failed, invalid, *beside in connection.execute(
            f"SELECT series_id, epoch_minute, {', '.join(_BEFORE)} FROM reopened"  # noqa: S608 - ours
            " ORDER BY series_id, epoch_minute"
        )
    )


def read_retold(connection: sqlite3.Connection, after_retold_id: int, limit: int) -> tuple[Retold, ...]:
    """Give the next ranges of minutes that were told again, in the order of writing."""
    return tuple(
        Retold(series_id, start_minute, stop_minute, retold_id)
        for retold_id, series_id, start_minute, stop_minute in connection.execute(
            "SELECT retold_id, series_id, start_minute, stop_minute FROM retold"
            " WHERE retold_id > ? ORDER BY retold_id LIMIT ?",
            (after_retold_id, limit),
        )
    )


def move_position(connection: sqlite3.Connection, position: Position) -> None:
    """Move a source's place on, if it is where the caller believes."""
    if position.before is None:
        moved = connection.execute(
            "INSERT INTO positions (source, position) VALUES (?, ?) ON CONFLICT (source) DO NOTHING",
            (position.source, position.after),
        )
    else:
        moved = connection.execute(
            "UPDATE positions SET position = ? WHERE source = ? AND position = ?",
            (position.after, position.source, position.before),
        )
    if moved.rowcount != 1:
        raise LedgerError(
            f"{position.source} is not at {position.before} in the ledger: somebody else counted it",
            "let one process at a time count it",
        )
