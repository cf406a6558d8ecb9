"""Reads a month from the ledger, judges it and puts it in order as a report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

from otel_sla.errors import CountsExpired
from otel_sla.history import History, JudgedSeries, Terms, series_of
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
from otel_sla.retention import is_kept
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.months import Month, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import is_in_month, month_figures
from otel_sla.versions import Basis, find_basis

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOLD_MAX = 20


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
) -> Report:
    """Judge the month of each agreement, as one state of the ledger has it.

    A closed month is judged by the terms that closed it (`versions.find_basis`), and all by the exclusions recorded so
    far.

    Args:
        reader: Its snapshot is taken here.
        agreements: In the order of the report.
        month: Local to each agreement's time zone.
        elapsed_stop: `elapsed_stop_minute` of the moment that the report speaks of.
        generated_at: Aware; only shown.
        drawn_max: Of so many of each agreement's series, the worst, the report keeps every minute's state.
        as_configured: Judge closed months by the terms that are given, too.

    Raises:
        LedgerError: It cannot be read.
        CountsExpired: The counts of the month are kept no longer.
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
            for agreement in agreements
        ]
    return build_report(month, generated_at, sections)


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

    Raises:
        CountsExpired: The counts of the month are kept no longer.
    """
    terms = Terms.of(basis.agreement, records, last_change(records))
    minutes = month_range(month, basis.agreement.time_zone)
    _check_kept(reader, basis.agreement, month)
    history = History(reader, reader.first_data_minutes())
    each_judged = history.each_judged(series_of(basis.agreement, reader.series()), terms, minutes, elapsed_stop)
    reports = _judge_series(terms, month, each_judged, _recorded_windows(basis.agreement, records), drawn_max)
    section = agreement_report(basis.agreement, month, reports)
    decided = decide_windows(basis.agreement, minutes, _recorded_windows(basis.agreement, records))
    alone = exclusions_alone(decided, reports)
    return replace(section, version=basis.version, closed_version=basis.closed_version, exclusions=alone)


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

    The snapshot lasts until the last one was taken.

    Raises:
        CountsExpired: The counts of the month are kept no longer.
    """
    with reader.snapshot():
        history = History(reader, reader.first_data_minutes())
        all_series, records = reader.series(), reader.exclusions()
        for configured in agreements:
            agreement = find_basis(reader, configured, month, as_configured=as_configured).agreement
            terms = Terms.of(agreement, records, last_change(records))
            minutes = month_range(month, agreement.time_zone)
            _check_kept(reader, agreement, month)
            ordered = sorted(series_of(agreement, all_series), key=lambda series: series.group)
            for series, judged in history.each_judged(ordered, terms, minutes, elapsed_stop):
                if not is_in_month(minutes, judged.counts, agreement.downtime.no_data):
                    continue
                stop_minute = max(minutes.start_minute, min(minutes.stop_minute, judged.judged.stop_minute))
                states = judged.judged.part(minutes.start_minute, stop_minute)
                first = minutes.start_minute - judged.counts.start_minute
                yield SeriesMinutes(series, states, judged.counts.counts[first : first + len(states.raw)])


def _check_kept(reader: LedgerReadings, agreement: Agreement, month: Month) -> None:
    if is_kept(month_range(month, agreement.time_zone), reader.watermarks().expired_before):
        return
    # In the order of revisions, so that each series' last closing holds.
    last = {closed.series_id: closed.figures for closed in reader.closed_months(agreement.name, str(month))}
    told = []
    for series in reader.series():
        if series.series_id in last:
            figures = cast(Mapping[str, object], last[series.series_id]["attributes"])
            group = ", ".join(f"{key}={value}" for key, value in series.group_text.items()) or "all"
            uptime, downtime = figures["sla.month.uptime"], figures["sla.month.downtime_minutes"]
            told.append(f"{group} with {uptime}, {downtime} minutes of downtime")
    more = f"; and {len(told) - _TOLD_MAX} more" if len(told) > _TOLD_MAX else ""
    raise CountsExpired(
        f"the counts of {month} are kept no longer (agreement {agreement.name}, ledger.retention)",
        f"it was closed: {'; '.join(told[:_TOLD_MAX])}{more}" if told else "a backup of the ledger has them",
    )


def _judge_series(
    terms: Terms,
    month: Month,
    each_judged: Iterator[tuple[Series, JudgedSeries]],
    recorded: Sequence[RecordedWindow],
    drawn_max: int,
) -> list[SeriesReport]:
    agreement = terms.agreement
    minutes = month_range(month, agreement.time_zone)
    decided = decide_windows(agreement, minutes, recorded)
    reports: list[SeriesReport] = []
    for series, judged in each_judged:
        if not is_in_month(minutes, judged.counts, agreement.downtime.no_data):
            continue
        figures = month_figures(minutes, judged.judged, judged.counts, agreement.target)
        report = series_report(series, figures, judged.judged, decided)
        reports.append(replace(report, states=judged.judged) if drawn_max else report)
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
