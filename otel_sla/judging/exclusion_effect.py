"""What recording or withdrawing an exclusion changes: figures of the months and series it touches, before and after.

Reads the ledger and judges; records nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from otel_sla.judging.month_report import judge_section
from otel_sla.judging.terms_versions import Basis, find_basis, is_touched, months_touched
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import Json
from otel_sla.report.document import AgreementReport, SeriesReport
from otel_sla.report.json import figures_object
from otel_sla.sla.agreement import Agreement, ExclusionWindow, NoData
from otel_sla.sla.exclusions import ExclusionRecord, is_in_scope
from otel_sla.sla.months import MinuteRange, Month, is_kept, month_range

# No two time zones are further apart.
_ZONES_APART_MINUTES_MAX = 26 * 60


@dataclass(frozen=True, slots=True)
class SeriesEffect:
    """One series that a window is meant for, in one month."""

    before: SeriesReport
    after: SeriesReport

    @property
    def is_changed(self) -> bool:
        """Whether the month has another uptime afterwards; minutes that were up are excluded without changing it."""
        return self.before.figures.down != self.after.figures.down


@dataclass(frozen=True, slots=True)
class MonthEffect:
    """One month that a window touches."""

    month: Month
    basis: Basis
    series: tuple[SeriesEffect, ...]  # Those of the month that the window is meant for, sorted by group.
    is_kept: bool = True  # Else its counts are dropped, and its figures stay what they were.


def effects_of(
    reader: LedgerReadings,
    configured: Agreement,
    window: ExclusionWindow,
    records: tuple[Sequence[ExclusionRecord], Sequence[ExclusionRecord]],
    elapsed_stop: int,
) -> tuple[MonthEffect, ...]:
    """Judge the months that a window touches as they were before it is recorded or withdrawn, and as they are after.

    Args:
        reader: Its snapshot is the caller's.
        configured: The window's agreement; closed months are judged by the terms that closed them.
        window: That is recorded or withdrawn.
        records: All exclusions recorded before, and those afterwards.
        elapsed_stop: `month_report.elapsed_stop_minute` of now.
    """
    found: list[MonthEffect] = []
    first_minute = min(reader.first_data_minutes().values(), default=elapsed_stop)
    expired_before = reader.watermarks().expired_before
    covered = window.minutes
    is_carried = configured.downtime.no_data is NoData.CARRY  # Silence behind excluded minutes may go on for months.
    around = MinuteRange(
        max(covered.start_minute - _ZONES_APART_MINUTES_MAX, first_minute),
        elapsed_stop if is_carried else min(covered.stop_minute + _ZONES_APART_MINUTES_MAX, elapsed_stop),
    )
    if covered.n_minutes == 0 or around.n_minutes <= 0:
        return ()
    basis_of = lambda month: find_basis(reader, configured, month)  # noqa: E731
    for month, basis in months_touched(configured, around, elapsed_stop + _ZONES_APART_MINUTES_MAX, basis_of):
        minutes, reach = month_range(month, basis.agreement.time_zone), basis.agreement.downtime.period_minutes_min - 1
        start_minute = max(covered.start_minute - reach, minutes.start_minute, first_minute)
        stop_minute = elapsed_stop if is_carried else min(covered.stop_minute + reach, elapsed_stop)
        if start_minute >= min(stop_minute, minutes.stop_minute):
            continue  # No such minute has elapsed, or has data.
        if not is_kept(minutes, expired_before):
            found.append(MonthEffect(month, basis, (), is_kept=False))
            continue
        before, after = (judge_section(reader, basis, month, elapsed_stop, each) for each in records)
        effect = MonthEffect(month, basis, tuple(_pairs(before, after, window)))
        if is_touched(basis, month, window.minutes) or any(series.is_changed for series in effect.series):
            found.append(effect)
    return tuple(found)


def figures_before(effects: Sequence[MonthEffect]) -> Json:
    """Give what the figures were, as the ledger keeps them beside the record (clause 15)."""
    return {
        "months": [
            {
                "month": str(effect.month),
                "version": effect.basis.version,
                "series": [
                    {"group": series.before.series.group_text, **figures_object(series.before.figures)}
                    for series in effect.series
                ],
            }
            for effect in effects
            if effect.is_kept
        ]
    }


def _pairs(before: AgreementReport, after: AgreementReport, window: ExclusionWindow) -> Iterator[SeriesEffect]:
    for one, other in zip(before.series, after.series, strict=True):
        assert one.series == other.series, "an exclusion adds no series to a month and takes none away"
        if is_in_scope(window, one.series.group_text):
            yield SeriesEffect(one, other)
