"""Reads a month from the ledger, judges it and puts it in order as a report."""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import starmap

from otel_sla.errors import CountsExpired
from otel_sla.judging.closed_month_json import closed_reports, has_later_exclusions
from otel_sla.judging.retired_series import find_stopped
from otel_sla.judging.series_judge import History, Terms, is_grouped, joined, judge_month, series_of
from otel_sla.judging.terms_versions import Basis, find_basis, find_counted_by
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.report.document import (
    Absence,
    AgreementReport,
    Report,
    SeriesMinutes,
    SeriesReport,
    agreement_report,
    decide_windows,
    draw_worst,
    exclusions_alone,
    series_report,
)
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.downtime import JudgedSeries, MinuteState
from otel_sla.sla.exclusions import ExclusionRecord, last_change
from otel_sla.sla.months import EPOCH, MinuteRange, Month, is_kept, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MonthFigures

_SERIES_AT_ONCE = 16  # Whose single minutes are in memory: 20 MB of a month.


def elapsed_stop_minute(now: datetime, grace: timedelta) -> int:
    """Give the first minute that has not elapsed: whose end is not yet `grace` ago (clause 17)."""
    return (now - grace - EPOCH) // timedelta(minutes=1)


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

    A closed month is judged by the terms that closed it (`terms_versions.find_basis`), and all by the exclusions
    recorded so far. One whose counts are dropped has the figures that it was closed with (`closed_month_json`).

    Args:
        reader: Its snapshot is taken here.
        agreements: In the order of the report.
        month: Local to each agreement's time zone.
        elapsed_stop: `elapsed_stop_minute` of the moment that the report speaks of.
        generated_at: Aware; only shown.
        drawn_max: Of so many of each agreement's series, the worst, the report keeps every minute's state.
        as_configured: Judge closed months by the terms that are given, too.
        removed: Agreements that are no longer configured (`terms_versions.removed_agreements`). They follow where they
            have anything in the month; one that is asked for alone is there in any month.

    Raises:
        LedgerError: It cannot be read.
        CountsExpired: The counts of the month are dropped, and it was not closed or is asked for `as_configured`.
    """
    sections: list[AgreementReport] = []
    with reader.snapshot():
        records = reader.exclusions()
        for agreement in (*agreements, *removed):
            basis = find_basis(reader, agreement, month, as_configured=as_configured)
            section = judge_section(reader, basis, month, elapsed_stop, records, drawn_max)
            sections.append(replace(section, configured=len(sections) < len(agreements)))
    if as_configured and any(section.is_as_closed for section in sections):
        raise _expired(month, "without --as-configured the report has the figures that it was closed with")
    return put_together(month, generated_at, sections)


def put_together(month: Month, generated_at: datetime, sections: Sequence[AgreementReport]) -> Report:
    """Make a report of the agreements that were asked for.

    Raises:
        CountsExpired: The counts of the month are dropped, and it was not closed.
    """
    if sections and all(section.is_as_closed and not section.series for section in sections):
        raise _expired(month, "it was not closed; a backup of the ledger has them")
    shown = [section for section in sections if section.configured or section.series or len(sections) == 1]
    return Report(month, generated_at, tuple(shown))


def judge_section(  # noqa: PLR0913 - the last two are choices that most callers leave alone.
    reader: LedgerReadings,
    basis: Basis,
    month: Month,
    elapsed_stop: int,
    records: Sequence[ExclusionRecord],
    drawn_max: int = 0,
    *,
    on_series: Callable[[SeriesReport, JudgedSeries], None] = lambda _report, _judged: None,
) -> AgreementReport:
    """Judge one agreement's month by the exclusions that `records` have recorded and not withdrawn.

    `records` are the ledger's or what they would be, of any agreements. The snapshot is the caller's; the rest is as
    for `load_report`. `on_series` gets each series and its single minutes as they pass by, where counts are kept.
    """
    agreement, minutes = basis.agreement, month_range(month, basis.agreement.time_zone)
    decided = decide_windows(agreement, minutes, records)
    is_as_closed = not is_kept(minutes, reader.watermarks().expired_before)
    if is_as_closed:
        each_report = closed_reports(reader, agreement, month, decided)
    else:
        all_series = series_of(agreement, reader.series())
        each_judged = _each_judged(reader, basis, all_series, month, elapsed_stop, records)
        counts_beside = reader.counts_beside(minutes.start_minute, min(minutes.stop_minute, elapsed_stop))

        def judged_report(series: Series, judged: JudgedSeries, figures: MonthFigures) -> SeriesReport:
            report = series_report(series, figures, judged.judged, decided)
            report = replace(report, former=not is_grouped(series, agreement), states=judged.judged)
            on_series(report, judged)
            return report

        each_report = starmap(judged_report, judge_month(reader, each_judged, agreement, month, counts_beside))
    reports: list[SeriesReport] = []
    has_later = False
    for report in each_report:
        has_later = has_later or (is_as_closed and has_later_exclusions(report, minutes, decided))
        reports.append(report if drawn_max else replace(report, states=None))
        if len(reports) % max(256, drawn_max) == 0:  # Never many more states in memory than are drawn.
            reports = draw_worst(reports, drawn_max)
    reports = draw_worst(reports, drawn_max)
    return replace(
        agreement_report(agreement, month, reports),
        version=basis.version,
        closed_version=basis.closed_version,
        exclusions=exclusions_alone(decided, reports),
        is_as_closed=is_as_closed,
        has_later_exclusions=has_later,
        counted_by=find_counted_by(reader, agreement, minutes),
        elapsed=max(0, elapsed_stop - minutes.start_minute) if elapsed_stop < minutes.stop_minute else None,
    )


def _each_judged(
    reader: LedgerReadings,
    basis: Basis,
    some_series: Sequence[Series],
    month: Month,
    elapsed_stop: int,
    records: Sequence[ExclusionRecord],
) -> Iterator[tuple[Series, JudgedSeries]]:
    """Judge the month's minutes, and as many beside it as a period that crosses its edges has."""
    change = last_change(records)
    terms = Terms.of(basis.agreement, records, change)
    minutes = month_range(month, basis.agreement.time_zone)
    # A ledger that no `otel-sla run` of this version has seen yet has series that are not retired there.
    retired = reader.retired_minutes()
    stopped = find_stopped(reader, basis.configured, reader.series(), retired)
    retired |= {series_id: one.retired_minute for series_id, one in stopped.items()}
    history = History(reader, reader.first_data_minutes(), retired)
    beside = (
        find_basis(reader, basis.configured, each, as_configured=basis.is_as_configured)
        for each in (month.previous, month.next)
    )
    before, behind = (Terms.of(each.agreement, records, change) for each in beside)
    has_same_terms = before == behind == terms
    for series, judged in history.each_judged(some_series, terms, minutes, elapsed_stop):
        if has_same_terms:
            yield series, judged
            continue
        # What of a period lies in a month beside this one is listed by that month's terms.
        start = minutes.start_minute
        stop = max(start, min(minutes.stop_minute, judged.judged.stop_minute))
        pieces = [judged.part(start, stop)]
        if stop > start and pieces[0].judged.raw[0] == MinuteState.DOWN:
            earlier = history.judged(series, before, MinuteRange(start - 1, start), elapsed_stop)
            pieces.insert(0, earlier.part(earlier.judged.start_minute, start))
        if minutes.stop_minute < elapsed_stop and pieces[-1].judged.raw[-1] == MinuteState.DOWN:
            later = history.judged(series, behind, MinuteRange(stop, stop + 1), elapsed_stop)
            pieces.append(later.part(stop, later.judged.stop_minute))
        yield series, joined(pieces)


def explain_absences(reader: LedgerReadings, report: Report, elapsed_stop: int, grace: timedelta) -> Report:
    """Say of each agreement that has no series in a report what the ledger has instead, if anything.

    Its snapshot is taken here; each minute is judged `grace` after its end.

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
            judged_at = EPOCH + timedelta(minutes=first_minute + 1) + grace
            return replace(section, absence=Absence(int(rows.counts[:, : len(Outcome)].sum()), judged_at, ()))

        return replace(report, agreements=tuple(map(explained, report.agreements)))


def each_series_minutes(  # noqa: PLR0913 - the last three are choices that most callers leave alone.
    reader: LedgerReadings,
    agreements: Sequence[Agreement],
    month: Month,
    elapsed_stop: int,
    *,
    as_configured: bool = False,
    series_at_once: int = _SERIES_AT_ONCE,
    series_ids: Container[int] | None = None,
) -> Iterator[SeriesMinutes]:
    """Judge as `load_report` does, and give each series' elapsed minutes one by one, in the report's order.

    With `series_ids` only theirs.

    The consumer may take hours: a few series at a time are read, each few as of one commit, and no snapshot is held
    between them.

    Raises:
        CountsExpired: The counts of the month are dropped.
    """
    with reader.snapshot():
        all_series, records = reader.series(), reader.exclusions()
        bases = [find_basis(reader, agreement, month, as_configured=as_configured) for agreement in agreements]
    for basis in bases:
        minutes = month_range(month, basis.agreement.time_zone)
        ordered = sorted(series_of(basis.agreement, all_series), key=lambda series: series.group)
        ordered = [series for series in ordered if series_ids is None or series.series_id in series_ids]
        for start in range(0, len(ordered), series_at_once):
            with reader.snapshot():
                if not is_kept(minutes, reader.watermarks().expired_before):
                    raise _expired(month, "without --rows minutes the report has the figures that it was closed with")
                some = ordered[start : start + series_at_once]
                each_judged = _each_judged(reader, basis, some, month, elapsed_stop, records)
                few = list(judge_month(reader, each_judged, basis.agreement, month, {}))
            for series, judged, figures in few:
                part = judged.part(minutes.start_minute, minutes.start_minute + figures.elapsed)
                yield SeriesMinutes(series, part.judged, part.counts, basis.version, basis.closed_version)


def _expired(month: Month, hint: str) -> CountsExpired:
    return CountsExpired(f"the counts of {month} are kept no longer (ledger.retention)", hint)
