"""What tests of the ledger build again and again."""

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.ledger.records import Commit
from otel_sla.sla.agreement import ExclusionReason, ExclusionWindow
from otel_sla.sla.counts import N_COUNTS, N_OUTCOMES, CountRows
from otel_sla.sla.events import Event, Severity
from otel_sla.sla.series import Series

Row = tuple[
    int, ...
]  # (epoch_minute, series_id, succeeded, failed, invalid), and what else is counted of it if any is.


def count_rows(rows: Iterable[Row]) -> CountRows:
    """Columns of rows."""
    table = np.array([(*row, *[0] * (2 + N_COUNTS - len(row))) for row in rows], dtype=np.int64).reshape(
        -1, 2 + N_COUNTS
    )
    return CountRows(table[:, 1], table[:, 0], table[:, 2:])


def rows_of_outcomes(series_id: Int64Array, epoch_minute: Int64Array, outcomes: Int64Array) -> CountRows:
    """Rows of which nothing else is counted: int64[n_rows, 3], requests."""
    return CountRows(series_id, epoch_minute, np.pad(outcomes, ((0, 0), (0, N_COUNTS - N_OUTCOMES))))


def listed(rows: CountRows) -> list[Row]:
    """Rows of columns, in their order."""
    table = np.column_stack((rows.epoch_minute, rows.series_id, rows.counts)).tolist()
    return [tuple(row if any(row[2 + N_OUTCOMES :]) else row[: 2 + N_OUTCOMES]) for row in table]


def fingerprint(number: int) -> bytes:
    """16 bytes, different for each number."""
    return number.to_bytes(16, "big")


def make_series(series_id: int, *, agreement: str = "chat", value: bytes | None = None) -> Series:
    """One series, grouped by `service.name`."""
    name = f"chat-{series_id}".encode() if value is None else value
    return Series(series_id, agreement, (("service.name", name),), is_overflow=False)


def make_commit(rows: Iterable[Row], fingerprints: Iterable[tuple[int, int]] = (), *, new_series: int = 0) -> Commit:
    """Rows, (newest minute, number of a fingerprint) and so many new series from 0 on."""
    return Commit(
        tuple(make_series(series_id) for series_id in range(new_series)),
        count_rows(rows),
        tuple((minute, fingerprint(number)) for minute, number in fingerprints),
    )


def make_event(uid: str, minute: int = 0) -> Event:
    """One event with an attribute of each type."""
    return Event(
        uid=uid,
        name="sla.downtime.started",
        time_unix_nano=minute * 60_000_000_000,
        severity=Severity.ERROR,
        body=f"chat is down \N{EM DASH} {uid}",
        attributes={"service.name": "chat-1", "requests": 100, "rate": 1.0, "is_open": True},
    )


def make_window(note: str = "database upgrade") -> ExclusionWindow:
    """One window, announced, of one group."""
    return ExclusionWindow(
        reason=ExclusionReason.SCHEDULED_MAINTENANCE,
        start=datetime.fromisoformat("2026-11-06T20:00:00+05:30"),
        stop=datetime.fromisoformat("2026-11-06T22:00:00+05:30"),
        group=(("service.name", "chat-1"),),
        announced_at=datetime(2026, 11, 2, 9, tzinfo=UTC),
        note=note,
        recorded_by="ops",
        recorded_at=datetime(2026, 11, 2, 9, 5, tzinfo=UTC),
    )
