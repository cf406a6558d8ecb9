"""A ledger file under the counts in memory, so that a restart of the application keeps its month.

What is counted and judged stands in memory; the file gets a copy once a second, and gives it back at the start. An
application goes on without it: after a write that failed nothing more is written, which is logged once.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from otel_sla.config import Config
from otel_sla.errors import LedgerError
from otel_sla.judging.clock import MinuteMarks
from otel_sla.judging.terms_versions import record_versions
from otel_sla.ledger.records import Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.sdk.month import MonthLedger, pack
from otel_sla.sla.exclusions import ExclusionRecord
from otel_sla.sla.months import expire_before
from otel_sla.sla.series import Series

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class LedgerCopy:
    """One open ledger. Used on the thread that opened it.

    Args:
        url: Of the ledger; None: there is none, and nothing is done.

    Raises:
        LedgerError: It cannot be opened.
    """

    def __init__(self, url: str | None) -> None:
        self._ledger = None if url is None else Ledger.open(url)
        self._expired_before = 0
        self._versions: dict[str, int] = {}

    def load(self, config: Config, minute: int, memory: MonthLedger) -> tuple[Series, ...]:
        """Put what the running months need into memory; give all series.

        Raises:
            LedgerError: It cannot be read.
        """
        ledger = self._ledger
        if ledger is None:
            return ()
        try:
            since_minute = ledger.watermarks().published_before or minute
            self._versions = record_versions(ledger, config.agreements, since_minute).versions
            return memory.load(ledger, config.agreements, minute)
        except LedgerError:
            self.close()
            raise

    def commit(self, commit: Commit) -> None:
        """Write what was counted; durable when this returns, unless the ledger has failed."""
        self._do(lambda ledger: ledger.commit(replace(commit, versions=self._versions)), None)

    def exclusions(self) -> Sequence[ExclusionRecord]:
        """Give the exclusions that were recorded with `otel-sla exclusion add`; none after a failure."""
        return self._do(Ledger.exclusions, ())

    def tidy(self, progress: MinuteMarks, retention_minutes: int) -> None:
        """Pack what is older, and forget what is older than the retention: a bounded piece of it."""
        self._do(lambda ledger: pack(ledger, progress.sealed_before, progress.judged_before), None)
        retained_from = expire_before(progress.judged_before - retention_minutes)
        if retained_from > self._expired_before:
            has_more = self._do(lambda ledger: ledger.expire(retained_from), otherwise=True)
            self._expired_before = self._expired_before if has_more else retained_from

    def close(self) -> None:
        """Give the ledger to the next process."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()

    def leave_to_parent(self) -> None:
        """In a forked child: the ledger is the parent's alone."""
        if self._ledger is not None:
            self._ledger.leave_to_parent()

    def _do(self, call: Callable[[Ledger], _Result], otherwise: _Result) -> _Result:
        if self._ledger is None:
            return otherwise
        try:
            return call(self._ledger)
        except LedgerError as error:
            _log.error(
                "the ledger is not written any more, a restart will begin from what it holds: %s",
                error,
                extra={"action": "ledger_failed"},
            )
            with suppress(Exception):  # It has failed already.
                self.close()
            return otherwise
