"""What the slow twin knows of the year: all that was acknowledged, and the exclusions."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import naive

from otel_sla.ledger.reader import LedgerReader
from otel_sla.sla.agreement import Agreement, ExclusionWindow

GRACE = timedelta(minutes=1)
LATE_SPANS_MAX = timedelta(hours=24)
FUTURE_SPANS_MAX = timedelta(minutes=5)


class Twin:
    """Counts once what is sent, by the twin's own code."""

    def __init__(self) -> None:
        self.series: dict[naive.SeriesKey, naive.MinuteCounts] = {}
        self.recorded: dict[str, tuple[ExclusionWindow, ...]] = {}
        self.spans = 0
        self._seen: set[bytes] = set()
        self._closed: dict[str, tuple[int, dict[str, Any]]] = {}  # Month -> exclusions by then, and its report.

    def load(self, url: str) -> None:
        """Take over what a former version has counted, and the exclusions that stand."""
        with closing(LedgerReader.open(url)) as reader:
            keys = {each.series_id: (each.agreement, each.group) for each in reader.series()}
            rows = reader.counts(0, 1 << 40)
            for minute, series_id, counts in zip(rows.epoch_minute, rows.series_id, rows.counts, strict=True):
                self.series.setdefault(keys[int(series_id)], {})[int(minute)] = [int(count) for count in counts]
            for record in reader.exclusions():
                if record.withdrawal is None:
                    self.record(record.agreement, record.window)

    def record(self, agreement: str, window: ExclusionWindow) -> None:
        """Note an exclusion."""
        self.recorded[agreement] = (*self.recorded.get(agreement, ()), window)

    def acknowledge(self, body: bytes, now_s: float, agreements: Sequence[Agreement]) -> None:
        """Count an acknowledged request of one ResourceSpans message, unless it was there before."""
        is_new = body not in self._seen
        self._seen.add(body)
        if not is_new:
            return
        counted = naive.count(
            [(body, int(now_s * 1e9))], agreements, late_spans_max=LATE_SPANS_MAX, future_spans_max=FUTURE_SPANS_MAX
        )
        for key, minutes in counted.whole.items():
            known = self.series.setdefault(key, {})
            for minute, row in minutes.items():
                self.spans += sum(row[:3]) if key[0] == agreements[0].name else 0
                former = known.get(minute, [0] * len(row))
                known[minute] = [left + right for left, right in zip(former, row, strict=True)]

    def differences(self, month: str, report: Mapping[str, Any], agreements: Sequence[Agreement]) -> list[str]:
        """Where a month's report, read back from its JSON, is not the twin's of the same moment."""
        now = naive.unix_nano(datetime.fromisoformat(report["generated_at"]))
        return naive.differences(self._report(month, now, agreements), report, month)

    def closed_differences(self, month: str, report: Mapping[str, Any], agreements: Sequence[Agreement]) -> list[str]:
        """The same of a month that was closed by these terms: only another exclusion changes it."""
        n_recorded = sum(map(len, self.recorded.values()))
        if self._closed.get(month, (None, None))[0] != n_recorded:
            now = naive.unix_nano(datetime.fromisoformat(report["generated_at"]))
            expected = self._report(month, now, agreements)
            del expected["generated_at"]
            self._closed[month] = n_recorded, expected
        return naive.differences(self._closed[month][1], report, month)

    def _report(self, month: str, now: int, agreements: Sequence[Agreement]) -> dict[str, Any]:
        return naive.report(month, agreements, self.series, now=now, grace=GRACE, recorded=self.recorded)
