"""Reads a month from the ledger, judges it and puts it in order as a report."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from otel_sla.errors import CountsExpired
from otel_sla.judging.closed_figures import closed_section
from otel_sla.judging.series_judge import History, Terms, is_grouped, joined, series_of, with_spans
from otel_sla.judging.stopped_series import find_stopped
from otel_sla.judging.terms_versions import Basis, beside, find_basis, find_counted_by
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import ExclusionRecord, Withdrawal
from otel_sla.report.document import (
    Absence,
    AgreementReport,
    RecordedWindow,
    Report,
    SeriesMinutes,
    SeriesReport,
    Withdrawn,
    agreement_report,
    build_report,
    decide_windows,
    draw_worst,
    exclusions_alone,
    series_report,
)
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.downtime import JudgedSeries, MinuteState
from otel_sla.sla.months import MinuteRange, Month, is_kept, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import is_in_month, month_figures

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SERIES_AT_ONCE = 16  # Whose single minutes are in memory: 20 MB of a month.


def elapsed_stop_minute(now: datetime, grace: timedelta) -> int:
    """Give the first minute that has not elapsed: whose end is not yet `grace` ago (clause 17)."""
    return (now - grace - _EPOCH) // timedelta(minutes=1)


def load_report(  # noqa: PLR0913 - the last two are choices that most callers leave alone.
    reader: LedgerReadings,
    agreements: Sequence[Agreement],
    month: Month,
    elapsed_stop: int,
    generated_at: datetime,
    *,
    drawn_max: int = 0,
    as_configured: bool = False,
    removed: Sequence[Agreement] = (),
) -> Report:
    """Judge the month of each agreement, as one state of the ledger has it.

    A closed month is judged by the terms that closed it (`versions.find_basis`), and all by the exclusions recorded so
    far. One whose counts are dropped is not judged: it has the figures that it was closed with (`closed_figures`).

    Args:
        reader: Its snapshot is taken here.
        agreements: In the order of the report.
        month: Local to each agreement's time zone.
        elapsed_stop: `elapsed_stop_minute` of the moment that the report speaks of.
        generated_at: Aware; only shown.
        drawn_max: Of so many of each agreement's series, the worst, the report keeps every minute's state.
        as_configured: Judge closed months by the terms that are given, too.
        removed: Agreements that are no longer configured (`versions.removed_agreements`); they follow, as far as they
            have anything in the month. One that is asked for alone is there in any month.

    Raises:
        LedgerError: It cannot be read.
        CountsExpired: The counts of the month are kept no longer, and nothing was closed in it; or it is to be judged
            `as_configured`.
    """
    with reader.snapshot():
        records = reader.exclusions()
        sections = [
            judge_section(
                reader,
                find_basis(reader, agreement, month, as_configured=as_configured),
                month,
                elapsed_stop,
                records,
                drawn_max,
            )
            for agreement in (*agreements, *removed)
        ]
    for index in range(len(agreements), len(sections)):
        sections[index] = replace(sections[index], configured=False)
    if as_configured and any(section.is_as_closed for section in sections):
        raise _expired(month, "without --as-configured the report has the figures that it was closed with")
    if sections and all(section.is_as_closed and not section.series for section in sections):
        raise _expired(month, "it was not closed; a backup of the ledger has them")
    shown = [section for section in sections if section.configured or section.series or len(sections) == 1]
    return build_report(month, generated_at, shown)


def judge_section(
    reader: LedgerReadings,
    basis: Basis,
    month: Month,
    elapsed_stop: int,
    records: Sequence[ExclusionRecord],
    drawn_max: int = 0,
) -> AgreementReport:
    """Judge one agreement's month by the exclusions that `records` have recorded and not withdrawn.

    Args:
        reader: Its snapshot is the caller's.
        basis: What to judge by.
        month: Local to the agreement's time zone.
        elapsed_stop: As for `load_report`.
        records: Of any agreements; the ledger's, or what they would be.
        drawn_max: As for `load_report`.
    """
    minutes = month_range(month, basis.agreement.time_zone)
    if not is_kept(minutes, reader.watermarks().expired_before):
        recorded = _recorded_windows(basis.agreement, records)
        section = closed_section(reader, basis.agreement, month, recorded, drawn_max)
        counted_by = find_counted_by(reader, basis.agreement, minutes)
        return replace(section, version=basis.version, closed_version=basis.closed_version, counted_by=counted_by)
    terms = Terms.of(basis.agreement, records, last_change(records))
    history = _history(reader, basis.configured)
    all_series = series_of(basis.agreement, reader.series())
    each_judged = history.each_judged(all_series, terms, minutes, elapsed_stop)
    before, behind = (Terms.of(agreement, records, last_change(records)) for agreement in beside(reader, basis, month))
    if before != terms or behind != terms:
        beside_it = _Beside(history, minutes, before, behind, elapsed_stop)
        each_judged = ((series, beside_it.judged(series, judged)) for series, judged in each_judged)
    judged = _JudgedMonth(reader, terms, month, elapsed_stop, each_judged)
    reports = _judge_series(judged, _recorded_windows(basis.agreement, records), drawn_max)
    section = agreement_report(basis.agreement, month, reports)
    decided = decide_windows(basis.agreement, minutes, _recorded_windows(basis.agreement, records))
    alone = exclusions_alone(decided, reports)
    return replace(
        section,
        version=basis.version,
        closed_version=basis.closed_version,
        exclusions=alone,
        counted_by=find_counted_by(reader, basis.agreement, minutes),
        elapsed=max(0, elapsed_stop - minutes.start_minute) if elapsed_stop < minutes.stop_minute else None,
    )


@dataclass(frozen=True, slots=True)
class _Beside:
    """Where the months beside one are judged by other terms: what of a period lies in them is listed by theirs."""

    history: History
    minutes: MinuteRange  # The month's.
    before: Terms  # Of the month before it,
    behind: Terms  # and of the one behind.
    elapsed_stop: int

    def judged(self, series: Series, judged: JudgedSeries) -> JudgedSeries:
        """Give the same month, with what is down beside it by the other months' terms."""
        start, stop = self.minutes.start_minute, min(self.minutes.stop_minute, judged.judged.stop_minute)
        pieces = [judged.part(start, max(start, stop))]
        if stop > start and pieces[0].judged.raw[0] == MinuteState.DOWN:
            before = self.history.judged(series, self.before, MinuteRange(start - 1, start), self.elapsed_stop)
            pieces.insert(0, before.part(before.judged.start_minute, start))
        if self.minutes.stop_minute < self.elapsed_stop and pieces[-1].judged.raw[-1] == MinuteState.DOWN:
            behind = self.history.judged(series, self.behind, MinuteRange(stop, stop + 1), self.elapsed_stop)
            pieces.append(behind.part(stop, behind.judged.stop_minute))
        return joined(pieces)


def explain_absences(reader: LedgerReadings, report: Report, elapsed_stop: int, grace: timedelta) -> Report:
    """Say of each agreement that has no series in a report what the ledger has instead, if anything.

    Args:
        reader: Its snapshot is taken here.
        report: `load_report`'s.
        elapsed_stop: As for `load_report`.
        grace: A minute is judged so long after its end.

    Raises:
        LedgerError: It cannot be read.
    """
    if all(section.series for section in report.agreements):
        return report
    with reader.snapshot():
        all_series = reader.series()
        counted = {series.agreement for series in all_series}
        asked = {section.agreement.name for section in report.agreements}
        others = () if counted & asked else tuple(sorted(counted))

        def explained(section: AgreementReport) -> AgreementReport:
            if section.series:
                return section
            series_ids = [each.series_id for each in series_of(section.agreement, all_series)]
            start = max(section.minutes.start_minute, elapsed_stop)
            rows = reader.counts(start, section.minutes.stop_minute, series_ids)
            if not len(rows):
                return replace(section, absence=Absence(0, report.generated_at, others)) if others else section
            first_minute = int(rows.epoch_minute.min())
            judged_at = _EPOCH + timedelta(minutes=first_minute + 1) + grace
            return replace(section, absence=Absence(int(rows.counts[:, : len(Outcome)].sum()), judged_at, ()))

        return replace(report, agreements=tuple(map(explained, report.agreements)))


def last_change(records: Iterable[ExclusionRecord]) -> int:
    """Give the number of the last recording or withdrawal; 0 if there was none."""
    changes = (record.change if record.withdrawal is None else record.withdrawal.change for record in records)
    return max(changes, default=0)


def each_series_minutes(
    reader: LedgerReadings,
    agreements: Sequence[Agreement],
    month: Month,
    elapsed_stop: int,
    *,
    as_configured: bool = False,
) -> Iterator[SeriesMinutes]:
    """Judge as `load_report` does, and give each series' elapsed minutes one by one, in the report's order.

    Whoever takes them may take hours: a few series at a time are read, each few as of one commit, and no snapshot is
    held while they are taken.

    Raises:
        CountsExpired: The counts of the month are kept no longer.
    """
    with reader.snapshot():
        all_series, records = reader.series(), reader.exclusions()
        bases = [find_basis(reader, agreement, month, as_configured=as_configured) for agreement in agreements]
    all_terms = [Terms.of(basis.agreement, records, last_change(records)) for basis in bases]
    for basis, terms in zip(bases, all_terms, strict=True):
        ordered = sorted(series_of(terms.agreement, all_series), key=lambda series: series.group)
        for start in range(0, len(ordered), _SERIES_AT_ONCE):
            with reader.snapshot():
                some = ordered[start : start + _SERIES_AT_ONCE]
                few = list(_judge_minutes(reader, basis, terms, some, elapsed_stop, month))
            yield from (replace(each, version=basis.version, closed_version=basis.closed_version) for each in few)


def _judge_minutes(
    reader: LedgerReadings, basis: Basis, terms: Terms, some_series: Sequence[Series], elapsed_stop: int, month: Month
) -> Iterator[SeriesMinutes]:
    minutes = month_range(month, terms.agreement.time_zone)
    if not is_kept(minutes, reader.watermarks().expired_before):
        raise _expired(month, "without --rows minutes the report has the figures that it was closed with")
    history = _history(reader, basis.configured)
    for series, judged in history.each_judged(some_series, terms, minutes, elapsed_stop):
        if not is_in_month(minutes, judged.counts, terms.agreement.downtime.no_data):
            continue
        stop_minute = max(minutes.start_minute, min(minutes.stop_minute, judged.judged.stop_minute))
        of_month = judged.part(minutes.start_minute, stop_minute)
        yield SeriesMinutes(series, of_month.judged, of_month.counts)


def _history(reader: LedgerReadings, configured: Agreement) -> History:
    """Give the past of an agreement's series; of a ledger too that no `otel-sla run` of this version has seen yet."""
    retired = reader.retired_minutes()
    stopped = find_stopped(reader, configured, reader.series(), retired)
    retired |= {series_id: one.retired_minute for series_id, one in stopped.items()}
    return History(reader, reader.first_data_minutes(), retired)


def _expired(month: Month, hint: str) -> CountsExpired:
    return CountsExpired(f"the counts of {month} are kept no longer (ledger.retention)", hint)


@dataclass(frozen=True, slots=True)
class _JudgedMonth:
    """An agreement's month, series by series."""

    reader: LedgerReadings
    terms: Terms
    month: Month
    elapsed_stop: int
    each_judged: Iterator[tuple[Series, JudgedSeries]]


def _judge_series(month: _JudgedMonth, recorded: Sequence[RecordedWindow], drawn_max: int) -> list[SeriesReport]:
    agreement = month.terms.agreement
    minutes = month_range(month.month, agreement.time_zone)
    beside = month.reader.counts_beside(minutes.start_minute, min(minutes.stop_minute, month.elapsed_stop))
    decided = decide_windows(agreement, minutes, recorded)
    reports: list[SeriesReport] = []
    for series, judged in month.each_judged:
        if not is_in_month(minutes, judged.counts, agreement.downtime.no_data):
            continue
        figures = month_figures(minutes, judged, agreement.target)
        figures = with_spans(figures, month.reader, series, beside)
        report = series_report(series, figures, judged.judged, decided)
        states = judged.judged if drawn_max else None
        reports.append(replace(report, former=not is_grouped(series, agreement), states=states))
        if len(reports) % max(256, drawn_max) == 0:  # Never many more states in memory than are drawn.
            reports = draw_worst(reports, drawn_max)
    return draw_worst(reports, drawn_max)


def _recorded_windows(agreement: Agreement, records: Iterable[ExclusionRecord]) -> tuple[RecordedWindow, ...]:
    return tuple(
        RecordedWindow(record.exclusion_id, record.window, _withdrawn(record.withdrawal))
        for record in records
        if record.agreement == agreement.name
    )


def _withdrawn(withdrawal: Withdrawal | None) -> Withdrawn | None:
    if withdrawal is None:
        return None
    return Withdrawn(withdrawal.withdrawn_by, withdrawal.withdrawn_at, withdrawal.why)
