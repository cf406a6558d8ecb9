"""Reads a ledger, in the pipeline and in any other process while the pipeline runs."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from otel_sla.arrays import Int64Array
from otel_sla.errors import LedgerCorrupt, LedgerError, LedgerUnavailable
from otel_sla.ledger import counts_table, fingerprints
from otel_sla.ledger.agreement_json import window_of
from otel_sla.ledger.check_and_backup import copy_ledger, find_damage, migrated_copy
from otel_sla.ledger.connection import connect_reader, ledger_path
from otel_sla.ledger.faults import RESTORE, located, translated, translating
from otel_sla.ledger.records import (
    EXCLUSION_COLUMNS,
    REOPENED_COLUMNS,
    AgreementVersion,
    ClosedMonth,
    CountedDay,
    Cursor,
    RefusedPoints,
    Reopened,
    Replacement,
    SetAside,
    StoredEvent,
    Watermarks,
)
from otel_sla.ledger.schema import SCHEMA_VERSION, checked_version
from otel_sla.ledger.sql import columns_of, from_json
from otel_sla.sla.counts import N_OUTCOMES, NANOS_PER_MINUTE, CountRows, CountsBeside
from otel_sla.sla.events import Event, Severity
from otel_sla.sla.exclusions import ExclusionRecord, Withdrawal
from otel_sla.sla.series import Series

_EVENTS_AT_ONCE = 1000

_Record = TypeVar("_Record")


class ReadingStopped(LedgerUnavailable):
    """The reader was stopped by `give_up`; nothing is wrong with the ledger."""


class LedgerReadings:
    """The reading methods, over a connection that a subclass opened; one thread uses it.

    Each method sees the ledger as of one commit; `snapshot` makes several see the same one.

    Attributes:
        path: Of the file.
        instance_id: A UUID, made once; `service.instance.id` of the pipeline that owns the ledger.
        fingerprint_seed: The ledger's secret, in [0, 2^64).
        known_from: Epoch minute; of the minutes before it only `last_data_minute` is known.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.known_from = 0  # Nobody asks for expired minutes.
        self._sqlite = connection
        self._failure: LedgerError | None = None
        self._exclusions: tuple[int, tuple[ExclusionRecord, ...]] | None = None  # As of so many changes.
        identities = self._rows("SELECT instance_id, fingerprint_seed FROM ledger")
        if not identities:
            raise LedgerCorrupt(f"the ledger {path} has lost its identity", RESTORE)
        self.instance_id = str(identities[0][0])
        self.fingerprint_seed = int.from_bytes(identities[0][1], "little")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything read inside be as of the same commit. Keep it short: the log grows as long as it lasts."""
        with self._reading():
            yield

    def renew_snapshot(self) -> None:
        """Continue in a newer snapshot inside of a long `snapshot()`."""
        with self._reading() as connection:
            connection.execute("COMMIT")
            connection.execute("BEGIN")

    def data_version(self) -> int:
        """Give a number that changes when another connection commits something."""
        return int(self._rows("PRAGMA data_version")[0][0])

    def series(self) -> tuple[Series, ...]:
        """All series ever seen, in the order of their ids."""
        with self._reading():
            groups: dict[int, list[tuple[str, bytes]]] = {}
            for series_id, *pair in self._rows("SELECT series_id, key, value FROM series_group ORDER BY 1, place"):
                groups.setdefault(series_id, []).append((*pair,))
            return tuple(
                Series(series_id, agreement, tuple(groups.get(series_id, ())), bool(is_overflow))
                for series_id, agreement, is_overflow in self._rows(
                    "SELECT series_id, agreement, is_overflow FROM series ORDER BY series_id"
                )
            )

    def n_series(self) -> int:
        """How many series were ever seen."""
        return int(self._rows("SELECT count(*) FROM series")[0][0])

    def watermarks(self) -> Watermarks:
        """How far the judge has come."""
        sql = "SELECT judged_before, sealed_before, exclusion_change, told_before, expired_before FROM ledger"
        return Watermarks(*self._rows(sql)[0])

    def is_counted(self, newest_minute: int, fingerprint: bytes, *, in_log: bool = True) -> bool:
        """Whether a message with this fingerprint (16 bytes) was counted and is not yet forgotten.

        Takes up to a millisecond; 8 us without `in_log`, for a caller that remembers the latest commits itself.
        """
        if self._failure is not None:
            raise self._failure
        try:
            return fingerprints.is_counted(self._sqlite, newest_minute, fingerprint, in_log=in_log)
        except sqlite3.Error as error:
            raise translated(error, self.path, "read") from error

    def has_fingerprint_log(self) -> bool:
        """Whether there are fingerprints that `is_counted` finds only `in_log`."""
        with self._reading() as connection:
            return fingerprints.has_log(connection)

    def fingerprint_minutes(self) -> tuple[int, int] | None:
        """First and last newest minute of the fingerprints that are kept; None: there are none."""
        with self._reading() as connection:
            return fingerprints.first_and_last_minute(connection)

    def fingerprints_of(self, start_minute: int, stop_minute: int) -> Iterator[bytes]:
        """Give all fingerprints of some minutes but those in the log, concatenated, thousands at a time."""
        with self._reading() as connection:
            yield from fingerprints.fingerprints_of(connection, start_minute, stop_minute)

    def counts(self, start_minute: int, stop_minute: int, series_ids: Sequence[int] | None = None) -> CountRows:
        """Totals of the epoch minutes `[start_minute, stop_minute)`; None: of all series. By minute, then series."""
        with self._reading() as connection:
            return counts_table.read(connection, start_minute, stop_minute, series_ids)

    def month_counts(
        self, series_id: int, start_minute: int, stop_minute: int, columns: int = N_OUTCOMES
    ) -> Int64Array:
        """Totals of one series: int64[n_minutes, columns], the first ones of `counts.Count` (N_OUTCOMES or N_COUNTS).

        Owned by the caller; each column is contiguous.
        """
        with self._reading() as connection:
            return counts_table.read_dense(connection, series_id, start_minute, stop_minute, columns)

    def each_month_counts(
        self, series_ids: Sequence[int], start_minute: int, stop_minute: int, columns: int = N_OUTCOMES
    ) -> Iterator[tuple[int, Int64Array]]:
        """`month_counts` of many series, all as of one commit; faster than one by one for a month with open minutes."""
        with self._reading() as connection:
            for read in counts_table.read_dense_each(connection, series_ids, start_minute, stop_minute, columns):
                yield read
                if self._failure is not None:
                    raise self._failure

    def counts_beside(self, start_minute: int, stop_minute: int) -> dict[int, CountsBeside]:
        """Give series_id -> exact sums of what is counted beside outcomes, for the series that have any."""
        with self._reading() as connection:
            return counts_table.read_beside(connection, start_minute, stop_minute)

    def first_minutes(self) -> dict[int, int]:
        """Give series_id -> first epoch minute with a request, an invalid one too."""
        return dict(self._rows("SELECT series_id, first_minute FROM series WHERE first_minute IS NOT NULL"))

    def first_data_minutes(self) -> dict[int, int]:
        """Give series_id -> first epoch minute with a valid request, for those that had one."""
        return dict(self._rows("SELECT series_id, first_data_minute FROM series WHERE first_data_minute IS NOT NULL"))

    def retired_minutes(self) -> dict[int, int]:
        """Give series_id -> first epoch minute whose silence is not judged, for those that nothing is counted for."""
        return dict(self._rows("SELECT series_id, retired_minute FROM series WHERE retired_minute IS NOT NULL"))

    def last_minute(self, series_id: int, from_minute: int) -> int | None:
        """Give the last minute from `from_minute` on that has any request of a series; None: none has."""
        with self._reading() as connection:
            return counts_table.read_last_any(connection, series_id, from_minute)

    def last_data_minute(
        self, series_id: int, before_minute: int, valid_requests_min: int, *, is_adjusted: bool = False
    ) -> tuple[int, tuple[int, ...]] | None:
        """Give the last minute before `before_minute` with at least so many valid requests (clause 6, `carry`), and
        its counts: N_OUTCOMES, or N_COUNTS if `is_adjusted`, when valid requests are adjusted counts (clause 19).
        """
        with self._reading() as connection:
            return counts_table.read_last(
                connection, series_id, before_minute, valid_requests_min, is_adjusted=is_adjusted
            )

    def revisions(self) -> dict[int, int]:
        """Give series_id -> how often its published figures were revised, for those that were."""
        return dict(self._rows("SELECT series_id, revision FROM series WHERE revision > 0"))

    def reopened(self) -> tuple[Reopened, ...]:
        """Give the minutes that got requests after they were judged and are not settled, by series and minute."""
        rows = self._rows(f"SELECT {REOPENED_COLUMNS} FROM reopened ORDER BY series_id, epoch_minute")  # noqa: S608
        return tuple(
            Reopened(series_id, minute, (succeeded, failed, invalid), CountsBeside(*beside))
            for series_id, minute, succeeded, failed, invalid, *beside in rows
        )

    def position(self, source: str) -> int | None:
        """Give how far a source has been counted; None: never seen."""
        found = self._rows("SELECT position FROM positions WHERE source = ?", source)
        return found[0][0] if found else None

    def events_after(self, event_id: int, limit: int) -> tuple[StoredEvent, ...]:
        """Give the next events of the outbox, in the order of writing."""
        return self._events("WHERE event_id > ? ORDER BY event_id LIMIT ?", event_id, limit)

    def newest_events(
        self, agreements: Sequence[str], names: Sequence[str], limit: int, looked_at_max: int
    ) -> tuple[StoredEvent, ...]:
        """Give the events of these names of some agreements that are among the last written, the newest first."""
        named, known = (", ".join("?" * len(each)) for each in (names, agreements))
        where = f"""WHERE name IN ({named}) AND json_extract(attributes, '$."sla.agreement.name"') IN ({known})"""
        near = "event_id > (SELECT max(event_id) FROM events) - ?"
        rest = f"{where} AND {near} ORDER BY event_id DESC LIMIT ?"
        return self._events(rest, *names, *agreements, looked_at_max, limit)

    def _events(self, rest: str, *arguments: object) -> tuple[StoredEvent, ...]:
        sql = f"SELECT event_id, {columns_of(Event)} FROM events {rest}"  # noqa: S608 - ours
        return tuple(
            StoredEvent(number, Event(uid, name, time_unix_nano, Severity(severity), body, json.loads(attributes)))
            for number, uid, name, time_unix_nano, severity, body, attributes in self._rows(sql, *arguments)
        )

    def last_event_minute(self, agreement: str) -> int | None:
        """Give the newest epoch minute that an event of the agreement is of; None: there is none. Reads them all."""
        named = """json_extract(attributes, '$."sla.agreement.name"') = ?"""
        newest = self._rows(f"SELECT max(time_unix_nano) FROM events WHERE {named}", agreement)[0][0]  # noqa: S608
        return None if newest is None else int(newest) // NANOS_PER_MINUTE

    def events_count_after(self, event_id: int) -> int:
        """Give how many events wait behind a cursor."""
        return int(self._rows("SELECT count(*) FROM events WHERE event_id > ?", event_id)[0][0])

    def exporters(self) -> tuple[str, ...]:
        """Give those that have a cursor, by name."""
        return tuple(name for (name,) in self._rows("SELECT exporter FROM cursors ORDER BY exporter"))

    def cursor(self, exporter: str) -> Cursor:
        """Give how far an exporter has come; a new one stands at the beginning."""
        found = self._rows("SELECT event_id, exported_before, retold_id FROM cursors WHERE exporter = ?", exporter)
        return Cursor(*found[0]) if found else Cursor(0, None)

    def replacements_after(self, replacement_id: int, limit: int) -> tuple[Replacement, ...]:
        """Give the next ranges of minutes whose gauges are due once more, in the order of writing."""
        sql = (
            "SELECT series_id, start_minute, stop_minute, retold_id FROM retold WHERE retold_id > ? ORDER BY 4 LIMIT ?"
        )
        return tuple(Replacement(*row) for row in self._rows(sql, replacement_id, limit))

    def last_ids(self) -> tuple[int, int]:
        """Give the ids of the last `Replacement` and of the last event; 0: there is none."""
        sql = "SELECT (SELECT coalesce(max(retold_id), 0) FROM retold), (SELECT coalesce(max(event_id), 0) FROM events)"
        last_replacement, last_event = self._rows(sql)[0]
        return int(last_replacement), int(last_event)

    def set_aside(self, exporter: str) -> tuple[SetAside, ...]:
        """Give the events that this exporter's backend will never take."""
        return self._records(SetAside, "FROM set_aside WHERE exporter = ? ORDER BY event_id", exporter)

    def refused_points(self, exporter: str) -> RefusedPoints | None:
        """Give what of the figures this exporter's backend will never take; None: nothing."""
        found = self._records(RefusedPoints, "FROM refused_points WHERE exporter = ?", exporter)
        return found[0] if found else None

    def exclusions(self) -> tuple[ExclusionRecord, ...]:
        """Give all exclusions recorded at run time, by id, withdrawn ones too; the same object until that changes."""
        with self._reading() as connection:
            change = last_exclusion_change(connection)
            if self._exclusions is None or self._exclusions[0] != change:
                self._exclusions = change, read_exclusions(connection)
            return self._exclusions[1]

    def agreement_versions(self, agreement: str) -> tuple[AgreementVersion, ...]:
        """Give the versions of an agreement's terms, oldest first."""
        sql = "SELECT version, terms, since_minute FROM agreement_versions WHERE agreement = ? ORDER BY version"
        return tuple(
            AgreementVersion(agreement, version, json.loads(terms), since)
            for version, terms, since in self._rows(sql, agreement)
        )

    def agreements(self) -> tuple[str, ...]:
        """Give the names of all agreements whose terms were ever recorded."""
        sql = "SELECT DISTINCT agreement FROM agreement_versions ORDER BY agreement"
        return tuple(name for (name,) in self._rows(sql))

    def counted_days(self, agreement: str) -> tuple[CountedDay, ...]:
        """Give which version of an agreement's terms counted which minutes, in the order of time."""
        sql = (
            "SELECT version, first_minute, last_minute, day < 0 FROM counted_days WHERE agreement = ?"
            " ORDER BY first_minute, last_minute, version"
        )
        rows = self._rows(sql, agreement)
        return tuple(CountedDay(version, first, last, bool(is_derived)) for version, first, last, is_derived in rows)

    def published_versions(self) -> dict[str, int]:
        """Give by which version of its terms each agreement's open months were published, by name."""
        return dict(self._rows("SELECT agreement, version FROM told_terms"))

    def closed_months(self, agreement: str, month: str) -> tuple[ClosedMonth, ...]:
        """Give what a month (`YYYY-MM`) was closed with, by series and revision."""
        sql = (
            f"SELECT {columns_of(ClosedMonth)} FROM closed_months"  # noqa: S608 - ours
            " WHERE agreement = ? AND month = ? ORDER BY series_id, revision"
        )
        return tuple(
            ClosedMonth(agreement, series_id, month, revision, version, json.loads(figures), closed_unix_nano)
            for _, series_id, _, revision, version, figures, closed_unix_nano in self._rows(sql, agreement, month)
        )

    def closed_versions(self, agreement: str, month: str) -> dict[int, int]:
        """Give series_id -> version of the agreement that closed its month (`YYYY-MM`) last."""
        # In the order of revisions, so that the last one holds; without the figures, which may be long.
        sql = "SELECT series_id, version FROM closed_months WHERE agreement = ? AND month = ? ORDER BY 1, revision"
        return dict(self._rows(sql, agreement, month))

    def check(self) -> tuple[str, ...]:
        """Read every page and every row; what is wrong, one line each; () when sound."""
        with self._reading() as connection:
            readings: dict[str, Callable[[], object]] = {
                "series": self.series,
                "reopened": self.reopened,
                "events": self._read_all_events,
                "retold": lambda: self.replacements_after(0, -1),
                "exclusions": lambda: read_exclusions(connection),
                "agreement_versions": lambda: [self.agreement_versions(name) for name in self.agreements()],
                "closed_months": lambda: [
                    self.closed_months(*closed)
                    for closed in self._rows("SELECT DISTINCT agreement, month FROM closed_months")
                ],
            }
            return tuple(find_damage(connection, readings))

    def backup(self, path: Path) -> None:
        """Copy the ledger as of now to a new file, while the pipeline runs.

        Raises:
            LedgerUnavailable: The file exists, or cannot be written.
        """
        with self._reading() as connection:
            copy_ledger(connection, path)

    def close(self) -> None:
        """Close the connection; nothing can be read afterwards."""
        self._sqlite.close()

    def give_up(self) -> None:
        """Let all reading fail soon with `ReadingStopped`; the one method that another thread may call."""
        self._failure = self._failure or ReadingStopped(f"the ledger {self.path} is not read any more")
        self._sqlite.interrupt()

    def _read_all_events(self) -> None:
        after = 0
        while page := self.events_after(after, _EVENTS_AT_ONCE):
            after = page[-1].event_id

    def _records(self, kind: Callable[..., _Record], rest: str, *arguments: object) -> tuple[_Record, ...]:
        """Read rows of a table whose columns bear the names of the record's fields."""
        return tuple(kind(*row) for row in self._rows(f"SELECT {columns_of(kind)} {rest}", *arguments))

    def _rows(self, sql: str, *arguments: object) -> list[Any]:
        with self._reading() as connection:
            return connection.execute(sql, arguments).fetchall()

    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._transaction("BEGIN", "read")

    @contextmanager
    def _transaction(self, begin: str, doing: str) -> Iterator[sqlite3.Connection]:
        if self._failure is not None:
            raise self._failure
        try:
            is_part = begin == "BEGIN" and self._sqlite.in_transaction  # Of a snapshot.
            if not is_part:
                self._sqlite.execute(begin)
            try:
                yield self._sqlite
                if not is_part:
                    self._sqlite.execute("COMMIT")
            finally:
                if not is_part and self._sqlite.in_transaction:
                    self._sqlite.execute("ROLLBACK")
        except (sqlite3.Error, OSError) as error:
            raise self._failure or translated(error, self.path, doing) from error
        except LedgerCorrupt as error:
            raise located(error, self.path) from error


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
        exclusion_id: Withdrawal(change, by, datetime.fromisoformat(at), why, from_json(figures))
        for exclusion_id, change, by, at, why, figures in connection.execute(
            f"SELECT exclusion_id, {columns_of(Withdrawal)} FROM withdrawals"  # noqa: S608 - ours
        )
    }
    rows = connection.execute(f"SELECT exclusion_id, {EXCLUSION_COLUMNS} FROM exclusions ORDER BY 1")  # noqa: S608
    return tuple(
        ExclusionRecord(number, change, agreement, window_of(window), from_json(figures), withdrawals.get(number))
        for number, change, agreement, figures, *window in rows
    )


class LedgerReader(LedgerReadings):
    """A reading connection for one thread; any number may be open while the pipeline writes."""

    @classmethod
    def open(cls, url: str, *, as_it_is: bool = False) -> "LedgerReader":
        """Open an existing ledger for reading.

        A ledger of a former schema is copied, and the copy migrated: the ledger itself stays as it is until
        `otel-sla run` opens it.

        Args:
            url: `ledger.url`.
            as_it_is: Do not migrate a copy; of a former schema nothing can be read then, only backed up.

        Raises:
            LedgerUnavailable: It does not exist or cannot be read.
            LedgerCorrupt: The file is no sound ledger.
            LedgerSchemaNewer: A newer otel-sla wrote it.
        """
        path = ledger_path(url)
        if not path.exists():
            raise LedgerUnavailable(
                f"there is no ledger {path}", "start otel-sla run, which makes it, or set ledger.url"
            )
        connection = connect_reader(path)
        try:
            with translating(path, "read"):
                version = checked_version(connection, path)
            if version == 0:
                raise LedgerUnavailable(f"the ledger {path} is empty", "start otel-sla run, which makes its tables")
            if version < SCHEMA_VERSION and not as_it_is:
                with closing(connection):
                    connection = migrated_copy(connection, path)
            return cls(path, connection)
        except LedgerError:
            connection.close()
            raise
