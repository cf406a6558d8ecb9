"""A ledger file under the counts in memory, so that a restart of the application keeps its month.

What is counted and judged stands in memory; the ledger gets a copy once a second, and gives it back at the start. An
application goes on without it: after a write that failed nothing more is written, which is logged once.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from otel_sla.config import Config
from otel_sla.errors import LedgerError
from otel_sla.judging.clock import MinuteMarks
from otel_sla.judging.terms_versions import record_versions
from otel_sla.ledger.records import Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.sdk.month import MinuteMemory, kept_from
from otel_sla.sla.agreement import Counting
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.exclusions import ExclusionRecord
from otel_sla.sla.months import expire_before
from otel_sla.sla.series import Series

_log = logging.getLogger(__name__)

_PIECES_MAX = 16  # Of packing and forgetting after a minute; what is left waits for the next one.
_MINUTES_AHEAD = 1 << 20  # Behind the newest minute that can have been counted.


class LedgerCopy:
    """One open ledger. Used on the thread that opened it.

    Args:
        url: Of the ledger.

    Raises:
        LedgerError: It cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._ledger: Ledger | None = Ledger.open(url)
        self._expired_before = 0
        self._versions: dict[str, int] = {}

    def load(self, config: Config, now_unix_nano: int, memory: MinuteMemory) -> tuple[Series, ...]:
        """Put what the running months need into memory; give all series.

        Raises:
            LedgerError: It cannot be read.
        """
        ledger, minute = self._ledger, now_unix_nano // NANOS_PER_MINUTE
        assert ledger is not None, "loaded before anything is written"
        try:
            agreements = {agreement.name: agreement for agreement in config.agreements}
            start_minute = min(kept_from(agreement, minute) for agreement in config.agreements)
            since_minute = ledger.watermarks().told_before or minute
            self._versions = record_versions(ledger, config.agreements, since_minute).versions
            memory.add(ledger.counts(start_minute, minute + _MINUTES_AHEAD))
            all_series, first = ledger.series(), ledger.first_data_minutes()
            for series in all_series:
                agreement = agreements.get(series.agreement)
                if agreement is not None:
                    last = ledger.last_data_minute(
                        series.series_id,
                        start_minute,
                        agreement.downtime.valid_requests_min,
                        is_adjusted=agreement.counting is Counting.ADJUSTED,
                    )
                    memory.remember(series.series_id, first.get(series.series_id), last)
        except LedgerError:
            self.close()
            raise
        return all_series

    def commit(self, commit: Commit) -> None:
        """Write what was counted; durable when this returns, unless the ledger has failed."""
        if self._ledger is not None:
            try:
                self._ledger.commit(replace(commit, versions=self._versions))
            except LedgerError as error:
                self._give_up(error)

    def exclusions(self) -> Sequence[ExclusionRecord]:
        """Give the exclusions that were recorded with `otel-sla exclusion add`; none after a failure."""
        if self._ledger is not None:
            try:
                return self._ledger.exclusions()
            except LedgerError as error:
                self._give_up(error)
        return ()

    def tidy(self, progress: MinuteMarks, retention_minutes: int) -> None:
        """Pack what is older, and forget what is older than the retention: a bounded piece of it."""
        retained_from = expire_before(progress.judged_before - retention_minutes)
        try:
            for _ in range(_PIECES_MAX):
                if self._ledger is None or not self._ledger.seal(
                    progress.sealed_before, pack_before=progress.judged_before
                ):
                    break
            if self._ledger is not None and retained_from > self._expired_before:
                has_more = self._ledger.expire(retained_from)
                self._expired_before = self._expired_before if has_more else retained_from
        except LedgerError as error:
            self._give_up(error)

    def close(self) -> None:
        """Give the ledger to the next process."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def leave_to_parent(self) -> None:
        """In a forked child: the ledger is the parent's alone."""
        if self._ledger is not None:
            self._ledger.leave_to_parent()

    def _give_up(self, error: LedgerError) -> None:
        _log.error(
            "the ledger is not written any more, a restart will begin from what it holds: %s",
            error,
            extra={"action": "ledger_failed"},
        )
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            with suppress(Exception):  # It has failed already.
                ledger.close()
