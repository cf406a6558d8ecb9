"""What can be read from a ledger, by the pipeline and by any other process while the pipeline runs."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from otel_sla.arrays import Int64Array
from otel_sla.errors import LedgerCorrupt, LedgerError, LedgerUnavailable
from otel_sla.ledger import counts_table, fingerprints, small_tables
from otel_sla.ledger.check_and_backup import copy_ledger, find_damage, migrated_copy
from otel_sla.ledger.connection import connect_reader, ledger_path
from otel_sla.ledger.faults import RESTORE, located, translated, translating
from otel_sla.ledger.records import (
    AgreementVersion,
    ClosedMonth,
    CountedDay,
    Cursor,
    ExclusionRecord,
    RefusedPoints,
    Reopened,
    Retold,
    SetAside,
    StoredEvent,
    Watermarks,
)
from otel_sla.ledger.schema import SCHEMA_VERSION, checked_version
from otel_sla.sla.counts import N_OUTCOMES, CountRows, CountsBeside
from otel_sla.sla.series import Series


class ReadingStopped(LedgerUnavailable):
    """Whoever read has given up; nothing is wrong with the ledger."""


class LedgerReadings:
    """The reading methods, over a connection that a subclass opened; one thread uses it.

    Each method sees the ledger as of one commit; `snapshot` makes several see the same one.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._sqlite = connection
        self._failure: LedgerError | None = None
        self._instance_id = ""
        self._fingerprint_seed = 0
        self._exclusions: tuple[int, tuple[ExclusionRecord, ...]] | None = None  # As of so many changes.
        with self._reading():
            identity = connection.execute("SELECT instance_id, fingerprint_seed FROM ledger").fetchone()
        if identity is None:
            raise LedgerCorrupt(f"the ledger {path} has lost its identity", RESTORE)
        self._instance_id = str(identity[0])
        self._fingerprint_seed = int.from_bytes(identity[1], "little")

    @property
    def fingerprint_seed(self) -> int:
        """The ledger's secret, in [0, 2^64)."""
        return self._fingerprint_seed

    @property
    def instance_id(self) -> str:
        """A UUID, made once; `service.instance.id` of the pipeline that owns the ledger."""
        return self._instance_id

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all that is read inside be as of the same commit. Short: the log grows as long as it lasts."""
        with self._reading():
            yield

    def renew_snapshot(self) -> None:
        """Go on in a newer snapshot inside of `snapshot()`, for who reads long."""
        with self._reading() as connection:
            connection.execute("COMMIT")
            connection.execute("BEGIN")

    def data_version(self) -> int:
        """Give a number that is another one once another connection has committed something."""
        with self._reading() as connection:
            return int(connection.execute("PRAGMA data_version").fetchone()[0])

    def series(self) -> tuple[Series, ...]:
        """All series ever seen, in the order of their ids."""
        with self._reading() as connection:
            return small_tables.read_series(connection)

    def watermarks(self) -> Watermarks:
        """How far the judge has come."""
        with self._reading() as connection:
            marks = "SELECT judged_before, sealed_before, exclusion_change, told_before, expired_before FROM ledger"
            return Watermarks(*connection.execute(marks).fetchone())

    def is_counted(self, newest_minute: int, fingerprint: bytes, *, in_log: bool = True) -> bool:
        """Whether a message with this fingerprint (16 bytes) was counted and is not yet forgotten.

        Without `in_log`, for who remembers what was counted lately, it takes 8 us instead of up to a millisecond.
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
        """Give all fingerprints of some minutes but those in the log, thousands at a time, one behind the other."""
        with self._reading() as connection:
            yield from fingerprints.fingerprints_of(connection, start_minute, stop_minute)

    def counts(self, start_minute: int, stop_minute: int, series_ids: Sequence[int] | None = None) -> CountRows:
        """Totals of the epoch minutes `[start_minute, stop_minute)`; None: of all series. By minute, then series."""
        with self._reading() as connection:
            return counts_table.read(connection, start_minute, stop_minute, series_ids)

    def month_counts(
        self, series_id: int, start_minute: int, stop_minute: int, columns: int = N_OUTCOMES
    ) -> Int64Array:
        """Totals of one series: int64[n_minutes, columns], 0 where there are none.

        Owned by the caller; each column is contiguous.

        Args:
            series_id: Of the series.
            start_minute: Epoch minute.
            stop_minute: One past the last.
            columns: So many of `counts.Count`, from the first on: N_OUTCOMES or N_COUNTS.
        """
        with self._reading() as connection:
            return counts_table.read_dense(connection, series_id, start_minute, stop_minute, columns)

    def each_month_counts(
        self, series_ids: Sequence[int], start_minute: int, stop_minute: int, columns: int = N_OUTCOMES
    ) -> Iterator[tuple[int, Int64Array]]:
        """`month_counts` of many series, one after the other and all as of one commit.

        For a month with open minutes this is faster than series by series.
        """
        with self._reading() as connection:
            for read in counts_table.read_dense_each(connection, series_ids, start_minute, stop_minute, columns):
                yield read
                if self._failure is not None:
                    raise self._failure

    def counts_beside(self, start_minute: int, stop_minute: int) -> dict[int, CountsBeside]:
        """Give series_id -> sums over minutes of what is counted beside outcomes (`counts.Count`).

        Only of series that have any; nothing is unpacked of the days that have none. The sums are exact, and may be
        larger than an int64.
        """
        with self._reading() as connection:
            return counts_table.read_beside(connection, start_minute, stop_minute)

    def first_minutes(self) -> dict[int, int]:
        """Give series_id -> first epoch minute with a request, an invalid one too."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT series_id, first_minute FROM series WHERE first_minute IS NOT NULL"))

    def first_data_minutes(self) -> dict[int, int]:
        """Give series_id -> first epoch minute with a valid request, for those that had one."""
        with self._reading() as connection:
            return dict(
                connection.execute(
                    "SELECT series_id, first_data_minute FROM series WHERE first_data_minute IS NOT NULL"
                )
            )

    def retired_minutes(self) -> dict[int, int]:
        """Give series_id -> first epoch minute whose silence is not judged, for those that nothing is counted for."""
        with self._reading() as connection:
            return dict(
                connection.execute("SELECT series_id, retired_minute FROM series WHERE retired_minute IS NOT NULL")
            )

    def last_minute(self, series_id: int, from_minute: int) -> int | None:
        """Give the last minute from `from_minute` on that has any request of a series; None: none has."""
        with self._reading() as connection:
            return counts_table.read_last_any(connection, series_id, from_minute)

    def known_from(self, series_id: int) -> int:  # noqa: ARG002 - of every series, as `history.CountReadings`.
        """Give the first minute whose counts can be read: what is expired is asked for by nobody."""
        return 0

    def last_data_minute(
        self, series_id: int, before_minute: int, valid_requests_min: int, *, is_adjusted: bool = False
    ) -> tuple[int, tuple[int, ...]] | None:
        """Give the last minute before `before_minute` with at least so many valid requests (clause 6, `carry`), and
        its counts: N_OUTCOMES of them.

        With `is_adjusted` valid requests are adjusted counts (clause 19), and the counts N_COUNTS.
        """
        with self._reading() as connection:
            return counts_table.read_last(
                connection, series_id, before_minute, valid_requests_min, is_adjusted=is_adjusted
            )

    def revisions(self) -> dict[int, int]:
        """Give series_id -> how often what was told of it was revised, for those that were."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT series_id, revision FROM series WHERE revision > 0"))

    def reopened(self) -> tuple[Reopened, ...]:
        """The minutes that got requests after they were judged and are not settled, by series and minute."""
        with self._reading() as connection:
            return small_tables.read_reopened(connection)

    def position(self, source: str) -> int | None:
        """How far a source has been counted; None: never seen."""
        with self._reading() as connection:
            row = connection.execute("SELECT position FROM positions WHERE source = ?", (source,)).fetchone()
            return None if row is None else int(row[0])

    def events_after(self, event_id: int, limit: int) -> tuple[StoredEvent, ...]:
        """The next events of the outbox, in the order of writing."""
        with self._reading() as connection:
            return small_tables.read_events(connection, event_id, limit)

    def events_count_after(self, event_id: int) -> int:
        """How many events wait behind a cursor."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM events WHERE event_id > ?", (event_id,)).fetchone()[0])

    def exporters(self) -> tuple[str, ...]:
        """Those that have a cursor, by name."""
        with self._reading() as connection:
            return tuple(name for (name,) in connection.execute("SELECT exporter FROM cursors ORDER BY exporter"))

    def cursor(self, exporter: str) -> Cursor:
        """How far an exporter has come; a new one stands at the beginning."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT event_id, exported_before, retold_id FROM cursors WHERE exporter = ?", (exporter,)
            ).fetchone()
            return Cursor(*row) if row else Cursor(0, None)

    def retold_after(self, retold_id: int, limit: int) -> tuple[Retold, ...]:
        """Give the next ranges of minutes whose gauges are due once more, in the order of writing."""
        with self._reading() as connection:
            return small_tables.read_retold(connection, retold_id, limit)

    def set_aside(self, exporter: str) -> tuple[SetAside, ...]:
        """The events that this exporter's backend will never take."""
        with self._reading() as connection:
            return small_tables.read_set_aside(connection, exporter)

    def refused_points(self, exporter: str) -> RefusedPoints | None:
        """What of the figures this exporter's backend will never take; None: nothing."""
        with self._reading() as connection:
            return small_tables.read_refused_points(connection, exporter)

    def exclusions(self) -> tuple[ExclusionRecord, ...]:
        """All exclusions recorded at run time, withdrawn ones too, in the order of recording.

        The same object as long as none is recorded or withdrawn.
        """
        with self._reading() as connection:
            change = small_tables.last_exclusion_change(connection)
            if self._exclusions is None or self._exclusions[0] != change:
                self._exclusions = change, small_tables.read_exclusions(connection)
            return self._exclusions[1]

    def agreement_versions(self, agreement: str) -> tuple[AgreementVersion, ...]:
        """The versions of an agreement's terms, oldest first."""
        with self._reading() as connection:
            return small_tables.read_agreement_versions(connection, agreement)

    def agreements(self) -> tuple[str, ...]:
        """The names of all agreements whose terms were ever recorded."""
        with self._reading() as connection:
            sql = "SELECT DISTINCT agreement FROM agreement_versions ORDER BY agreement"
            return tuple(name for (name,) in connection.execute(sql))

    def counted_days(self, agreement: str) -> tuple[CountedDay, ...]:
        """Which version of an agreement's terms counted which minutes, in the order of time."""
        with self._reading() as connection:
            return small_tables.read_counted_days(connection, agreement)

    def told_versions(self) -> dict[str, int]:
        """By which version of its terms each agreement's open months were told, by name."""
        with self._reading() as connection:
            return small_tables.read_told_versions(connection)

    def closed_months(self, agreement: str, month: str) -> tuple[ClosedMonth, ...]:
        """What a month (`YYYY-MM`) was closed with, by series and revision."""
        with self._reading() as connection:
            return small_tables.read_closed_months(connection, agreement, month)

    def closed_versions(self, agreement: str, month: str) -> dict[int, int]:
        """Give series_id -> version of the agreement that closed its month (`YYYY-MM`) last."""
        with self._reading() as connection:
            return small_tables.read_closed_versions(connection, agreement, month)

    def check(self) -> tuple[str, ...]:
        """Read every page and every row; what is wrong, one line each; () when sound."""
        with self._reading() as connection:
            return tuple(find_damage(connection))

    def backup(self, path: Path) -> None:
        """Copy the ledger as of now to a new file, while the pipeline runs.

        Raises:
            LedgerUnavailable: The file exists, or cannot be written.
        """
        with self._reading() as connection:
            copy_ledger(connection, path)

    def close(self) -> None:
        """Give the file back; nothing can be read afterwards."""
        self._sqlite.close()

    def give_up(self) -> None:
        """Let all reading end in `ReadingStopped` soon; the one method that another thread may call."""
        self._failure = self._failure or ReadingStopped(f"the ledger {self.path} is not read any more")
        self._sqlite.interrupt()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self._failure is not None:
            raise self._failure
        try:
            if self._sqlite.in_transaction:  # A snapshot around it.
                yield self._sqlite
                return
            self._sqlite.execute("BEGIN")
            try:
                yield self._sqlite
            finally:
                if self._sqlite.in_transaction:
                    self._sqlite.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise self._failure or translated(error, self.path, "read") from error
        except LedgerCorrupt as error:
            raise located(error, self.path) from error


class LedgerReader(LedgerReadings):
    """A reading connection; one thread uses it, any number may be open while the pipeline writes."""

    @classmethod
    def open(cls, url: str, *, as_it_is: bool = False) -> "LedgerReader":
        """Open an existing ledger for reading.

        One of a former schema is copied and the copy is brought up to date: the ledger itself stays as it is until
        `otel-sla run` opens it.

        Args:
            url: `ledger.url`.
            as_it_is: Leave a former schema as it is; for a backup, nothing else can be read then.

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
