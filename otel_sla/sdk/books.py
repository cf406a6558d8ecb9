"""All that is known of one process' requests: counted, kept for the running month, judged.

Belongs to the processor's thread; nothing in it is locked.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan

from otel_sla.clockwork import Clock, Clockwork, TrustedClock, steady_clock
from otel_sla.config import Config
from otel_sla.exporter.signals import series_attributes
from otel_sla.ledger.records import Watermarks
from otel_sla.sdk.counting import SpanCounting
from otel_sla.sdk.figures import Judging
from otel_sla.sdk.instruments import Labelled
from otel_sla.sdk.kept_month import KeptMonth
from otel_sla.sdk.minutes import MinuteMemory
from otel_sla.sla.series import SeriesTable


class Books:
    """Counts and judges.

    Args:
        config: Its agreements and the durations of `processor`.
        ledger_url: Of the ledger beneath, if there is one.
        uncounted: Spans that were not counted, by reason; added to.
        clock: ns since the Unix epoch.
        steady: ns; nobody sets it.

    Raises:
        LedgerError: The ledger cannot be opened or read.
    """

    def __init__(
        self,
        config: Config,
        ledger_url: str | None,
        uncounted: Counter[str],
        clock: Clock,
        steady: Callable[[], int] = steady_clock,
    ) -> None:
        self._config = config
        self._memory = MinuteMemory()
        self._kept = None if ledger_url is None else KeptMonth(ledger_url)
        known = self._kept.load(config, clock(), self._memory) if self._kept else ()
        self._table = SeriesTable(config.agreements, series_max=config.processor.series_max, known=known)
        trusted = TrustedClock(clock, steady)
        self._clockwork = Clockwork(config.processor, trusted.latest, trusted, Watermarks(None, None, 0, None))
        self._counting = SpanCounting(config.agreements, self._table, self._clockwork.window, uncounted)
        self._judging = Judging(config.agreements, self._memory)
        self._judged_before = 0

    @property
    def overflow_count(self) -> int:
        """Requests that were counted in an overflow series."""
        return self._counting.overflow_count

    def load_kernels(self) -> None:
        """Have them loaded or compiled before the first span."""
        self._counting.load_kernels()

    def count(self, spans: Sequence[ReadableSpan]) -> None:
        """Count ended spans."""
        rows = self._counting.count(spans)
        if len(rows) == 0:
            return
        self._memory.add(rows)
        self._judging.add(rows)
        if self._kept is not None:
            self._kept.commit(self._table.drain_new(), rows)

    def judge(self) -> tuple[Labelled, ...] | None:
        """Give the figures of the newest minute that has elapsed; None if none has since the last call."""
        progress = self._clockwork.progress()
        if progress.judged_before <= self._judged_before:
            return None
        self._judged_before = progress.judged_before
        self._counting.spared.tell(progress.judged_before)
        all_series = [self._table[series_id] for series_id in range(len(self._table))]
        records = self._kept.exclusions() if self._kept is not None else ()
        figures = self._judging.figures(all_series, records, progress.judged_before)
        if self._kept is not None:
            self._kept.tidy(progress, round(self._config.ledger.retention_s) // 60)
        return tuple((minute, series_attributes(minute.series)) for minute in figures)

    def close(self) -> None:
        """Give the ledger back, if there is one."""
        if self._kept is not None:
            self._kept.close()

    def leave_to_parent(self) -> None:
        """In a forked child: leave the ledger to the parent; nothing may be called afterwards."""
        if self._kept is not None:
            self._kept.leave_to_parent()
