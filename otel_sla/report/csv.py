"""The report as CSV (RFC 4180): a table of series, of downtime periods, of exclusions, or of single minutes.

Each table has one line of names and one line for each row, with CR LF; times in UTC, and local with their offset. A
group's values have a column each. Ratios stand there twice: as numerator and denominator, which are exact, and as a
decimal, which is truncated (clause 11).

Senders choose a group's values, and a spreadsheet takes a cell that begins with `=`, `+`, `-` or `@`, full-width or
behind a line break too, for a formula to run: such text gets an apostrophe before it. Programs that need the very text
read the JSON.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from csv import writer
from datetime import timedelta
from enum import Enum
from io import StringIO
from zoneinfo import ZoneInfo

import numpy as np

from otel_sla.report.document import AgreementReport, ExclusionReport, Report, SeriesMinutes, SeriesReport
from otel_sla.report.json import exclusion_object, figures_object, period_object
from otel_sla.report.terms import each_outcome_term
from otel_sla.report.wording import printable
from otel_sla.sla.agreement import Agreement, Counting, Outcome
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.figures_text import minute_text, moment_text, term_text
from otel_sla.sla.months import EPOCH
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import DowntimePeriod

Cell = str | int | bool | None

_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")
_STATE_NAMES = [state.wire_name for state in sorted(MinuteState)]


class Rows(Enum):
    """What a row of the CSV stands for."""

    SERIES = "series"
    PERIODS = "periods"
    EXCLUSIONS = "exclusions"
    MINUTES = "minutes"  # By `each_minute_line`.


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
            shown = _each_row(series, section.agreement, rows)
            lines += (_line((*head, *map(row.get, columns), *terms, series.former)) for row in shown)
        if rows is Rows.EXCLUSIONS:  # Those of no series: no group, and so no overflow.
            head = (str(report.month), moment, section.agreement.name, *(None for _ in keys), None)
            shown = map(_exclusion_figures, section.exclusions)
            lines += (_line((*head, *map(row.get, columns), *terms, None)) for row in shown)
    return "".join(lines)


def each_minute_line(
    agreements: Sequence[Agreement], minutes: Iterable[SeriesMinutes], all_series: Iterable[Series] = ()
) -> Iterator[str]:
    """Give a line for each elapsed minute of each series: its states before and after exclusions, and its requests.

    A month of a thousand series has 44 million of them. The agreements, and those of `all_series` that are of their
    former groupings, name the columns.
    """
    names = {agreement.name for agreement in agreements}
    keys = _group_keys(agreements, (series for series in all_series if series.agreement in names))
    zones = {agreement.name: agreement.time_zone for agreement in agreements}
    counting = {agreement.name: agreement.counting.value for agreement in agreements}
    columns = "minute minute_local state_raw state valid failed invalid version closed_by_version counting"
    yield _line((*_series_names(keys), *columns.split()))
    times: list[str] = []
    times_of: tuple[int, int, str] | None = None
    for series in minutes:
        states = series.states
        wanted = (states.start_minute, states.stop_minute, zones[series.series.agreement])
        if wanted != times_of:
            times_of = wanted
            times = [f"{minute_text(minute)},{_local_text(minute, wanted[2])}" for minute in range(*wanted[:2])]
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
    outcomes = (words for _, _, words in each_outcome_term(section.agreement))
    counted = (
        f"{each.version}: {minute_text(each.minutes.start_minute)}/{minute_text(each.minutes.stop_minute)}"
        for each in section.counted_by
    )
    of_versions = (section.version, section.closed_version)
    of_closing = (section.is_as_closed, section.has_later_exclusions)
    counting = section.agreement.counting.value
    return (*of_versions, counting, *outcomes, section.configured, "; ".join(counted), *of_closing)


# Columns of a table, beside those that name the series. Most are figures of the JSON report, by their names there.
_COLUMNS = {
    Rows.SERIES: (
        *("time_zone", "start", "stop", "minutes_total", "minutes_elapsed", "minutes_up", "minutes_down"),
        *("minutes_excluded", "minutes_low_traffic", "minutes_no_data", "minutes_down_raw", "minutes_with_data"),
        *("requests_valid", "requests_failed", "requests_invalid", "requests_spared", "requests_sampled"),
        *("requests_unthresholded", "requests_spans"),
        *("monthly_uptime_numerator", "monthly_uptime_denominator", "monthly_uptime"),
        *("monthly_uptime_raw_numerator", "monthly_uptime_raw_denominator", "monthly_uptime_raw"),
        *("elapsed_uptime_numerator", "elapsed_uptime_denominator", "elapsed_uptime", "sampled_share"),
        *("requests_valid_adjusted", "requests_failed_adjusted", "requests_invalid_adjusted"),
        *("coverage_numerator", "coverage_denominator", "coverage", "target", "error_rate_above"),
        *("downtime_minutes_allowed", "breached", "downtime_periods", "exclusions_accepted", "exclusions_refused"),
        "complete",
    ),
    Rows.PERIODS: (
        *("start", "stop", "start_local", "stop_local", "minutes", "minutes_in_month", "excluded_minutes"),
        *("requests_valid", "requests_failed"),
    ),
    Rows.EXCLUSIONS: (
        *("reason", "scope", "start", "stop", "announced_at", "accepted", "refusal", "minutes_saved", "note"),
        *("recorded_by", "recorded_at", "exclusion_id", "withdrawn_by", "withdrawn_at", "withdrawn_why"),
    ),
}


def _series_figures(report: SeriesReport, agreement: Agreement) -> Mapping[str, Cell]:
    figures = report.figures
    of_json = figures_object(figures)
    ratios = {
        "monthly_uptime": (figures.total - figures.down, figures.total),
        "monthly_uptime_raw": (figures.total - figures.down_raw, figures.total),
        "elapsed_uptime": (figures.elapsed - figures.down, figures.elapsed),
        "coverage": (figures.with_data, figures.elapsed),
    }
    cells = {
        **of_json,
        **{f"{kind}_{name}": count for kind in ("minutes", "requests") for name, count in of_json[kind].items()},
        **{f"{name}_numerator": numerator for name, (numerator, _) in ratios.items()},
        **{f"{name}_denominator": denominator for name, (_, denominator) in ratios.items()},
        "time_zone": agreement.time_zone,
        "start": minute_text(figures.minutes.start_minute),
        "stop": minute_text(figures.minutes.stop_minute),
        "minutes_down_raw": figures.down_raw,
        "minutes_with_data": figures.with_data,
        "target": term_text(agreement.target),
        "error_rate_above": term_text(agreement.downtime.error_rate_above),
        "complete": report.is_complete,
    }
    if agreement.counting is Counting.ADJUSTED:  # Exactly; else they are what was received.
        names = ("requests_valid_adjusted", "requests_failed_adjusted", "requests_invalid_adjusted")
        cells |= zip(names, map(term_text, figures.adjusted), strict=True)
    if report.is_complete:
        n_refused = sum(exclusion.refusal is not None for exclusion in report.exclusions)
        cells |= {
            "downtime_periods": len(figures.downtime_periods),
            "exclusions_accepted": len(report.exclusions) - n_refused,
            "exclusions_refused": n_refused,
        }
    return cells


def _period_figures(period: DowntimePeriod, agreement: Agreement) -> Mapping[str, Cell]:
    return {
        **period_object(period),
        "start_local": _local_text(period.start_minute, agreement.time_zone),
        "stop_local": _local_text(period.stop_minute, agreement.time_zone),
        "requests_valid": period.valid,
        "requests_failed": period.failed,
    }


def _exclusion_figures(exclusion: ExclusionReport) -> Mapping[str, Cell]:
    return {
        # Without its time of recording a window of the configuration has nobody in the JSON report.
        "recorded_by": exclusion.window.recorded_by,
        **exclusion_object(exclusion),
        "scope": "agreement" if exclusion.window.group is None else "group",
        "exclusion_id": exclusion.exclusion_id,
    }


def _each_row(report: SeriesReport, agreement: Agreement, rows: Rows) -> Iterable[Mapping[str, Cell]]:
    if rows is Rows.SERIES:
        return [_series_figures(report, agreement)]
    if rows is Rows.PERIODS:
        return (_period_figures(period, agreement) for period in report.figures.downtime_periods)
    return map(_exclusion_figures, report.exclusions)


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


def _local_text(epoch_minute: int, time_zone: str) -> str:
    return (EPOCH + timedelta(minutes=epoch_minute)).astimezone(ZoneInfo(time_zone)).isoformat()


def _line(cells: Iterable[Cell]) -> str:
    line = StringIO(newline="")
    writer(line).writerow(map(_shown, cells))
    return line.getvalue()


def _shown(cell: Cell) -> Cell:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if not isinstance(cell, str):
        return cell
    text = f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
    return printable(text, besides="\t\r\n")
