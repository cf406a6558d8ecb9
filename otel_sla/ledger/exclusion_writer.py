"""Writes exclusions beside a running pipeline: a second, short-lived connection that adds to two small tables only."""

from datetime import datetime

from otel_sla.errors import LedgerError, LedgerUnavailable
from otel_sla.ledger.agreement_json import window_row
from otel_sla.ledger.connection import check_magic, connect_writer, ledger_path
from otel_sla.ledger.reader import LedgerReader, LedgerReadings, last_exclusion_change
from otel_sla.ledger.records import EXCLUSION_COLUMNS, Json
from otel_sla.ledger.schema import SCHEMA_VERSION, checked_version
from otel_sla.ledger.sql import columns_of, insert_into, to_json
from otel_sla.sla.agreement import ExclusionWindow
from otel_sla.sla.exclusions import Withdrawal


class ExclusionWriter(LedgerReadings):
    """Records and withdraws exclusions, whether a pipeline runs or not; it has all reading methods too.

    Open it for one change and close it: it never moves the write-ahead log into the file, and the pipeline's commits
    wait while it writes.
    """

    @classmethod
    def open(cls, url: str) -> "ExclusionWriter":
        """Open an existing ledger.

        Raises:
            LedgerError: As LedgerReader.open.
        """
        LedgerReader.open(url, as_it_is=True).close()  # Reports what is wrong with it before it is opened for writing.
        path = ledger_path(url)
        check_magic(path)
        connection = connect_writer(path)
        if (version := checked_version(connection, path)) < SCHEMA_VERSION:
            connection.close()
            raise LedgerUnavailable(
                f"the ledger {path} has schema {version}, this otel-sla writes {SCHEMA_VERSION}",
                "start otel-sla run, which brings it up to date",
            )
        return cls(path, connection)

    def record_exclusion(self, agreement: str, window: ExclusionWindow, figures_before: Json | None = None) -> int:
        """Record one exclusion, durable when this returns; give its id."""
        with self._transaction("BEGIN IMMEDIATE", "write to") as connection:
            inserted = connection.execute(
                insert_into("exclusions", EXCLUSION_COLUMNS),
                (last_exclusion_change(connection) + 1, agreement, to_json(figures_before), *window_row(window)),
            )
            assert inserted.lastrowid is not None, "an inserted row has an id"
            return inserted.lastrowid

    def withdraw_exclusion(
        self,
        exclusion_id: int,
        *,
        withdrawn_by: str,
        withdrawn_at: datetime,
        why: str,
        figures_before: Json | None = None,
    ) -> None:
        """Take an exclusion back; its record stays.

        Raises:
            LedgerError: There is none with this id, or it was withdrawn before.
        """
        with self._transaction("BEGIN IMMEDIATE", "write to") as connection:
            found = connection.execute(
                "SELECT withdrawn_at, withdrawn_by FROM exclusions LEFT JOIN withdrawals USING (exclusion_id)"
                " WHERE exclusion_id = ?",
                (exclusion_id,),
            ).fetchone()
            if found is None:
                raise LedgerError(f"the ledger {self.path} has no exclusion {exclusion_id}")
            if found[0] is not None:
                raise LedgerError(f"exclusion {exclusion_id} was withdrawn at {found[0]} by {found[1]}")
            change = last_exclusion_change(connection) + 1
            connection.execute(
                insert_into("withdrawals", f"exclusion_id, {columns_of(Withdrawal)}"),
                (exclusion_id, change, withdrawn_by, withdrawn_at.isoformat(), why, to_json(figures_before)),
            )
