"""Closed months: their figures are published, and again where they change, and which terms they stay judged by."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from otel_sla.judging.clock import MinuteMarks
from otel_sla.judging.closed_month_json import kept_of_month
from otel_sla.judging.findings import Findings
from otel_sla.judging.series_judge import History, Terms, judge_month, series_of
from otel_sla.judging.terms_over_time import ClosedTerms, TermsOverTime
from otel_sla.judging.terms_versions import Basis, find_basis, months_touched
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import ClosedMonth
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.events import Subject
from otel_sla.sla.figures_text import minute_text
from otel_sla.sla.month_events import Promise, month_closed_event
from otel_sla.sla.months import MinuteRange, Month, is_kept, month_of, month_range, months_between
from otel_sla.sla.series import Series

_log = logging.getLogger(__name__)

# Attributes that a month has not which an earlier version closed.
_NOTHING_BESIDE: dict[str, object] = {"sla.month.requests.spared": 0, "sla.month.requests.sampled": 0}


@dataclass(slots=True)
class MonthCloser:
    """Closes the months of one pass of the judge."""

    reader: LedgerReadings
    history: History
    versions: Mapping[str, int]  # Of the terms as they are now, by the agreement's name.
    progress: MinuteMarks
    sealed_before: int | None  # Epoch minute, as the ledger has it.
    found: Findings  # Grows.
    in_turns: Callable[[Sequence[Series]], Iterator[Series]]  # Goes through series, in more than one snapshot.
    _known: dict[tuple[str, Month], tuple[Basis, dict[int, list[ClosedMonth]]]] = field(default_factory=dict)

    def close(self, terms: Terms, all_series: Sequence[Series], sealed_from: int, *, only_missed: bool = False) -> None:
        """Close the months, or those that nothing closed yet, that end behind `sealed_from` and are sealed now.

        They are judged by the terms of today.
        """
        zone, sealed_before = terms.agreement.time_zone, self.progress.sealed_before
        for month in months_between(sealed_from, sealed_before, zone):
            is_ended = sealed_from < month_range(month, zone).stop_minute <= sealed_before
            if is_ended and not (only_missed and self._closed(terms.agreement, month)[1]):
                self._close_month(terms, all_series, month)

    def close_again(self, terms: Terms, all_series: Sequence[Series], changed: MinuteRange) -> None:
        """Publish the figures again of closed months that differ now, for something in these minutes."""
        if changed.n_minutes <= 0:
            return
        sealed_before = self.sealed_before or 0
        basis_of = lambda month: self._closed(terms.agreement, month)[0]  # noqa: E731
        for month, basis in months_touched(terms.agreement, changed, sealed_before, basis_of):
            if month_range(month, basis.agreement.time_zone).stop_minute <= sealed_before:
                self._close_month(terms, all_series, month)

    def closed_by(self, agreement: Agreement, start_minute: int) -> Iterator[tuple[Agreement, int]]:
        """Give what closed each closed month from `start_minute` on, with its stop minute, where terms have changed."""
        if len(self.reader.agreement_versions(agreement.name)) > 1:
            for month in months_between(start_minute, self.sealed_before or 0, agreement.time_zone):
                basis, _ = self._closed(agreement, month)
                if basis.closed_version is not None:
                    yield basis.agreement, month_range(month, basis.agreement.time_zone).stop_minute

    def promise(self, agreement: Agreement, timeline: TermsOverTime, month: Month) -> Promise:
        """Give what is promised of a local month: by the terms that closed it, or by those of its last minute."""
        basis, _ = self._closed(agreement, month)
        if basis.closed_version is not None:
            return Promise.of(basis.agreement, month)
        last_minute = month_range(month, timeline.current.agreement.time_zone).stop_minute - 1
        return Promise.of(timeline.agreement_at(last_minute), month)

    def _close_month(self, terms: Terms, all_series: Sequence[Series], month: Month) -> None:
        # A month that is closed stays judged by the terms that closed it; the recorded windows are those of today.
        basis, closed_series = self._closed(terms.agreement, month)
        agreement = basis.agreement
        recorded = terms.windows[len(terms.agreement.exclusions.windows) :]
        month_terms = Terms(agreement, (*agreement.exclusions.windows, *recorded))
        minutes = month_range(month, agreement.time_zone)
        if not is_kept(minutes, self.reader.watermarks().expired_before):
            return
        each_judged = (
            (series, self.history.judged(series, month_terms, minutes, self.progress.judged_before))
            for series in self.in_turns(series_of(agreement, all_series))
        )
        beside = self.reader.counts_beside(*minutes)
        for series, judged, figures in judge_month(self.reader, each_judged, agreement, month, beside):
            earlier = closed_series.get(series.series_id, [])
            supersedes = str(earlier[-1].figures["uid"]) if earlier else None
            event = month_closed_event(Subject(series, agreement), month, figures, len(earlier), supersedes)
            published = {key: value for key, value in event.attributes.items() if not key.startswith("sla.revision.")}
            if earlier and _NOTHING_BESIDE | cast(dict[str, object], earlier[-1].figures["attributes"]) == published:
                continue
            self.found.events.append(event)
            closed = ClosedMonth(
                agreement=agreement.name,
                series_id=series.series_id,
                month=str(month),
                revision=len(earlier),
                version=basis.closed_version or self.versions[agreement.name],
                figures={"uid": event.uid, "attributes": published, "kept": kept_of_month(figures, judged.judged)},
                closed_unix_nano=event.time_unix_nano,
            )
            self.found.closed_months.append(closed)
            closed_series[series.series_id].append(closed)

    def _closed(self, agreement: Agreement, month: Month) -> tuple[Basis, dict[int, list[ClosedMonth]]]:
        """Give what a month is judged by, and its closings so far by series; read once for all series."""
        if (agreement.name, month) not in self._known:
            closed: dict[int, list[ClosedMonth]] = defaultdict(list)
            for one in self.reader.closed_months(agreement.name, str(month)):
                closed[one.series_id].append(one)
            self._known[agreement.name, month] = (find_basis(self.reader, agreement, month), closed)
        return self._known[agreement.name, month]


def warn_of_edge(agreement: Agreement, closed: Sequence[ClosedTerms]) -> None:
    """Log which minutes are in no month, or in two, as the last closed month ended in another time zone.

    `agreement` is as it is from now on, `closed` are its closed months in any order.
    """
    if not closed:
        return
    last = max(closed, key=lambda each: each.stop_minute)
    month = month_of(last.stop_minute - 1, last.terms.agreement.time_zone)
    open_start = month_range(month, agreement.time_zone).stop_minute
    start, stop = sorted((last.stop_minute, open_start))
    if start == stop:
        return
    is_lost = open_start > last.stop_minute
    _log.warning(
        "agreement %s: months begin in %s now, not in %s: the %d minutes from %s to %s are in %s",
        agreement.name,
        agreement.time_zone,
        last.terms.agreement.time_zone,
        stop - start,
        minute_text(start),
        minute_text(stop),
        f"the report of no month, as {month} is closed" if is_lost else f"{month}, which is closed, and {month.next}",
        extra={"action": "time_zone_changed"},
    )
