"""The report as CSV (RFC 4180): a table of series, of downtime periods, of exclusions, or of single minutes.

Each table has one line of names and one line for each row, with CR LF; times in UTC, and local with their offset. A
group's values have a column each. Ratios stand there twice: as numerator and denominator, which are exact, and as a
decimal, which is truncated (clause 11).

Senders choose a group's values, and a spreadsheet takes a cell that begins with `=`, `+`, `-` or `@`, full-width or
behind a line break too, for a formula to run: such text gets an apostrophe before it. Programs that need the very text
read the JSON.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from otel_sla.report.document import AgreementReport, ExclusionReport, Report, SeriesMinutes, SeriesReport
from otel_sla.report.terms import each_outcome_term
from otel_sla.sla.agreement import Agreement, Counting, Outcome
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.figures_text import minute_text, moment_text, ratio_text, term_text
from otel_sla.sla.periods import DowntimePeriod
from otel_sla.sla.series import Series

Cell = str | int | bool | None

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")
_STATE_NAMES = [state.wire_name for state in sorted(MinuteState)]


class Rows(Enum):
    """What a row of a report's table stands for."""

    SERIES = "series"
    PERIODS = "periods"
    EXCLUSIONS = "exclusions"


def render_csv(report: Report, rows: Rows = Rows.SERIES) -> str:
    """Write one of the report's tables; without rows it is the line of names."""
    agreements = [section.agreement for section in report.agreements]
    keys = _group_keys(agreements, (series.series for section in report.agreements for series in section.series))
    moment = moment_text(report.generated_at.replace(microsecond=0))
    columns = _COLUMNS[rows]
    lines = [_line(("month", "generated_at", *_series_names(keys), *columns, *_TERMS_NAMES))]
    for section in report.agreements:
        terms = _terms_cells(section)
        for series in section.series:
            head = (str(report.month), moment, *_series_cells(series.series, keys))
            lines += [
                _line((*head, *(cell(item, section.agreement) for cell in columns.values()), *terms, series.former))
                for item in _items(series, rows)
            ]
        if rows is Rows.EXCLUSIONS:  # Those of no series: no group, and so no overflow.
            head = (str(report.month), moment, section.agreement.name, *(None for _ in keys), None)
            lines += [
                _line((*head, *(cell(item, section.agreement) for cell in columns.values()), *terms, None))
                for item in section.exclusions
            ]
    return "".join(lines)


def each_minute_line(
    agreements: Sequence[Agreement], minutes: Iterable[SeriesMinutes], all_series: Iterable[Series] = ()
) -> Iterator[str]:
    """Write a line for each elapsed minute of each series: its states before and after exclusions, and its requests.

    A month of a thousand series has 44 million of them, so lines are given one by one.

    Args:
        agreements: Those of the report; they name the columns.
        minutes: The series of these agreements, in the order of the report.
        all_series: Among which those of former groupings are, which name further columns.
    """
    names = {agreement.name for agreement in agreements}
    keys = _group_keys(agreements, (series for series in all_series if series.agreement in names))
    zones = {agreement.name: agreement.time_zone for agreement in agreements}
    counting = {agreement.name: agreement.counting.value for agreement in agreements}
    yield _line((*_series_names(keys), *_MINUTE_NAMES))
    times: list[str] = []
    times_of: tuple[int, int, str] | None = None
    for series in minutes:
        states = series.states
        wanted = (states.start_minute, states.stop_minute, zones[series.series.agreement])
        if wanted != times_of:
            times_of, times = wanted, [_minute_times(minute, wanted[2]) for minute in range(*wanted[:2])]
        # Names of states, times and numbers need no quotes; the rest is quoted once for all minutes.
        head = _line(_series_cells(series.series, keys)).removesuffix("\r\n")
        tail = _line((series.version, series.closed_version, counting[series.series.agreement]))
        counts, parts = series.counts.counts, series.counts.parts
        # What is cut off to whole requests has room in an int64; the parts of valid ones may not.
        parts_of_requests = (series.counts.valid, counts[:, Outcome.FAILED], counts[:, Outcome.INVALID])
        requests = ((each // parts).astype(np.int64) for each in parts_of_requests)
        numbers = np.stack((states.raw, states.adjusted, *requests), axis=1)
        for time, (raw, adjusted, n_valid, n_failed, n_invalid) in zip(times, numbers.tolist(), strict=True):
            yield f"{head},{time},{_STATE_NAMES[raw]},{_STATE_NAMES[adjusted]},{n_valid},{n_failed},{n_invalid},{tail}"


# By which terms a series is counted and judged; the same for all of an agreement but `former`.
_TERMS_NAMES = (
    *("version", "closed_by_version", "counting", "terms_status", "terms_valid", "terms_failed"),
    *("configured", "counted_by", "as_closed", "later_exclusions", "former"),
)


def _terms_cells(section: AgreementReport) -> tuple[Cell, ...]:
    said = (words for _, _, words in each_outcome_term(section.agreement))
    counted = (
        f"{each.version}: {minute_text(each.minutes.start_minute)}/{minute_text(each.minutes.stop_minute)}"
        for each in section.counted_by
    )
    of_versions = (section.version, section.closed_version)
    of_closing = (section.is_as_closed, section.has_later_exclusions)
    counting = section.agreement.counting.value
    return (*of_versions, counting, *said, section.configured, "; ".join(counted), *of_closing)


_MINUTE_NAMES = (
    *("minute", "minute_local", "state_raw", "state", "valid", "failed", "invalid"),
    *("version", "closed_by_version", "counting"),
)

# Columns of a table: name -> what stands there, by the row's item and its agreement.
_Columns = Mapping[str, Callable[[Any, Agreement], Cell]]


def _ratio_columns(name: str, ratio_of: Callable[[SeriesReport], tuple[int, int]]) -> _Columns:
    """A ratio's numerator and denominator, not reduced, and its decimal; that is empty where the denominator is 0."""

    def decimal(report: SeriesReport, _: Agreement) -> Cell:
        numerator, denominator = ratio_of(report)
        return ratio_text(Fraction(numerator, denominator)) if denominator else None

    return {
        f"{name}_numerator": lambda report, _: ratio_of(report)[0],
        f"{name}_denominator": lambda report, _: ratio_of(report)[1],
        name: decimal,
    }


def _optional_ratio(ratio: Fraction | None) -> Cell:
    return None if ratio is None else ratio_text(ratio)


def _adjusted_cell(place: int) -> Callable[[SeriesReport, Agreement], Cell]:
    """Valid, failed or invalid requests exactly; empty where they are what was received."""
    return lambda report, agreement: (
        term_text(report.figures.adjusted[place]) if agreement.counting is Counting.ADJUSTED else None
    )


_SERIES_COLUMNS: _Columns = {
    "time_zone": lambda _, agreement: agreement.time_zone,
    "start": lambda report, _: minute_text(report.figures.minutes.start_minute),
    "stop": lambda report, _: minute_text(report.figures.minutes.stop_minute),
    "minutes_total": lambda report, _: report.figures.total,
    "minutes_elapsed": lambda report, _: report.figures.elapsed,
    "minutes_up": lambda report, _: report.figures.up,
    "minutes_down": lambda report, _: report.figures.down,
    "minutes_excluded": lambda report, _: report.figures.excluded,
    "minutes_low_traffic": lambda report, _: report.figures.low_traffic,
    "minutes_no_data": lambda report, _: report.figures.no_data,
    "minutes_down_raw": lambda report, _: report.figures.down_raw,
    "minutes_with_data": lambda report, _: report.figures.with_data,
    "requests_valid": lambda report, _: report.figures.valid,
    "requests_failed": lambda report, _: report.figures.failed,
    "requests_invalid": lambda report, _: report.figures.invalid,
    "requests_spared": lambda report, _: report.figures.spans.spared,
    "requests_sampled": lambda report, _: report.figures.spans.sampled,
    "requests_unthresholded": lambda report, _: report.figures.spans.unthresholded,
    "requests_spans": lambda report, _: report.figures.spans.total,
    **_ratio_columns(
        "monthly_uptime", lambda report: (report.figures.total - report.figures.down, report.figures.total)
    ),
    **_ratio_columns(
        "monthly_uptime_raw", lambda report: (report.figures.total - report.figures.down_raw, report.figures.total)
    ),
    **_ratio_columns(
        "elapsed_uptime", lambda report: (report.figures.elapsed - report.figures.down, report.figures.elapsed)
    ),
    "sampled_share": lambda report, _: _optional_ratio(report.figures.spans.sampled_share),
    **{f"requests_{name}_adjusted": _adjusted_cell(place) for place, name in enumerate(("valid", "failed", "invalid"))},
    **_ratio_columns("coverage", lambda report: (report.figures.with_data, report.figures.elapsed)),
    "target": lambda _, agreement: term_text(agreement.target),
    "error_rate_above": lambda _, agreement: term_text(agreement.downtime.error_rate_above),
    "downtime_minutes_allowed": lambda report, _: report.figures.downtime_minutes_allowed,
    "breached": lambda report, _: report.figures.is_breached,
    "downtime_periods": lambda report, _: len(report.figures.downtime_periods) if report.is_complete else None,
    "exclusions_accepted": lambda report, _: _exclusion_count(report, is_refused=False),
    "exclusions_refused": lambda report, _: _exclusion_count(report, is_refused=True),
    "complete": lambda report, _: report.is_complete,
}

_PERIOD_COLUMNS: _Columns = {
    "start": lambda period, _: minute_text(period.start_minute),
    "stop": lambda period, _: minute_text(period.stop_minute),
    "start_local": lambda period, agreement: _local_text(period.start_minute, agreement.time_zone),
    "stop_local": lambda period, agreement: _local_text(period.stop_minute, agreement.time_zone),
    "minutes": lambda period, _: period.minutes,
    "minutes_in_month": lambda period, _: period.minutes_in_month,
    "excluded_minutes": lambda period, _: period.excluded_minutes,
    "requests_valid": lambda period, _: period.valid,
    "requests_failed": lambda period, _: period.failed,
}

_EXCLUSION_COLUMNS: _Columns = {
    "reason": lambda exclusion, _: exclusion.window.reason.value,
    "scope": lambda exclusion, _: "agreement" if exclusion.window.group is None else "group",
    "start": lambda exclusion, _: moment_text(exclusion.window.start),
    "stop": lambda exclusion, _: moment_text(exclusion.window.stop),
    "announced_at": lambda exclusion, _: _optional_moment(exclusion.window.announced_at),
    "accepted": lambda exclusion, _: exclusion.refusal is None,
    "refusal": lambda exclusion, _: None if exclusion.refusal is None else exclusion.refusal.value,
    "minutes_saved": lambda exclusion, _: exclusion.minutes_saved,
    "note": lambda exclusion, _: exclusion.window.note,
    "recorded_by": lambda exclusion, _: exclusion.window.recorded_by,
    "recorded_at": lambda exclusion, _: _optional_moment(exclusion.window.recorded_at),
    "exclusion_id": lambda exclusion, _: exclusion.exclusion_id,
    "withdrawn_by": lambda exclusion, _: None if exclusion.withdrawn is None else exclusion.withdrawn.withdrawn_by,
    "withdrawn_at": lambda exclusion, _: _optional_moment(exclusion.withdrawn and exclusion.withdrawn.withdrawn_at),
    "withdrawn_why": lambda exclusion, _: None if exclusion.withdrawn is None else exclusion.withdrawn.why,
}

_COLUMNS = {Rows.SERIES: _SERIES_COLUMNS, Rows.PERIODS: _PERIOD_COLUMNS, Rows.EXCLUSIONS: _EXCLUSION_COLUMNS}


def _exclusion_count(report: SeriesReport, *, is_refused: bool) -> int | None:
    if not report.is_complete:
        return None
    return sum((exclusion.refusal is not None) is is_refused for exclusion in report.exclusions)


def _items(report: SeriesReport, rows: Rows) -> Sequence[SeriesReport | DowntimePeriod | ExclusionReport]:
    if rows is Rows.PERIODS:
        return report.figures.downtime_periods
    return report.exclusions if rows is Rows.EXCLUSIONS else (report,)


def _group_keys(agreements: Iterable[Agreement], all_series: Iterable[Series]) -> tuple[str, ...]:
    """The keys that the agreements are grouped by, each once, in the order of the configuration; then former ones."""
    former = (key for series in all_series if not series.is_overflow for key, _ in series.group)
    return tuple(dict.fromkeys((*(key for agreement in agreements for key in agreement.group_by), *former)))


def _series_names(keys: Iterable[str]) -> tuple[str, ...]:
    return ("agreement", *(f"group.{key}" for key in keys), "is_overflow")


def _series_cells(series: Series, keys: Iterable[str]) -> tuple[Cell, ...]:
    """The columns that say which series a row is about; the overflow series has no values of a group."""
    group = series.group_text
    return (series.agreement, *(group.get(key) for key in keys), series.is_overflow)


def _minute_times(epoch_minute: int, time_zone: str) -> str:
    return f"{minute_text(epoch_minute)},{_local_text(epoch_minute, time_zone)}"


def _local_text(epoch_minute: int, time_zone: str) -> str:
    return (_EPOCH + timedelta(minutes=epoch_minute)).astimezone(ZoneInfo(time_zone)).isoformat()


def _optional_moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment_text(moment)


def _line(cells: Iterable[Cell]) -> str:
    return ",".join(map(_cell_text, cells)) + "\r\n"


def _cell_text(cell: Cell) -> str:
    """Write a cell as RFC 4180 has it; numbers are never quoted."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    text = f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
    # What no line of text has (escape sequences for a terminal) does not get into one.
    text = "".join(sign if sign.isprintable() or sign in "\t\r\n" else "\ufffd" for sign in text)
    if any(sign in text for sign in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
