"""One series' section of the HTML report: verdict, calendar, how its figures come about, periods, exclusions."""

from collections.abc import Iterator, Sequence

from otel_sla.report.document import AgreementReport, ExclusionReport, SeriesReport
from otel_sla.report.html.calendar import draw_calendar
from otel_sla.report.html.markup import Child, Markup, join, table, tag
from otel_sla.report.wording import (
    group_text,
    moment_in,
    percent,
    requests_text,
    short_minute,
    verdict_text,
    withdrawal_text,
    words_of,
)
from otel_sla.sla.figures_text import counted, term_text
from otel_sla.sla.months import Month
from otel_sla.sla.periods import DowntimePeriod
from otel_sla.sla.uptime import MonthFigures

# A series that flaps has thousands of periods; nobody reads them on paper.
PERIODS_MAX = 200

_TIMES = "\u00d7"
_MINUS = "\u2212"


def series_section(series: SeriesReport, section: AgreementReport, month: Month, anchor: str) -> Markup:
    """Write a series' section.

    Args:
        series: With its single minutes, if a calendar is wanted.
        section: Of its agreement.
        month: The report's.
        anchor: Id of the section in the document.
    """
    zone = section.agreement.time_zone
    figures = series.figures
    opening: list[Child] = [
        tag("h3", tag("bdi", group_text(series)), id=anchor),
        tag(
            "p",
            tag("span", f"Target {verdict_text(figures)}", class_="breached" if figures.is_breached else "kept"),
            f": {percent(figures.monthly_uptime)} monthly uptime, {figures.down:,} of"
            f" {figures.downtime_minutes_allowed:,} allowed minutes of downtime,"
            f" coverage {percent(figures.coverage, 2)}.",
        ),
    ]
    if series.states is not None:
        opening.append(draw_calendar(series.states, month, zone, group_text(series)))
    parts: list[Child] = [tag("div", *opening, class_="opening")]
    parts.append(_computation(figures))
    if series.is_complete:
        parts += [*_periods(figures, zone), *_exclusions(series.exclusions, zone, "Exclusions")]
    return tag("section", *parts)


def _computation(figures: MonthFigures) -> Markup:
    return table(["Figure", "Computed as", ""], _computed_rows(figures), "computed", "How the figures come about")


def _computed_rows(figures: MonthFigures) -> Iterator[list[Child]]:
    total, elapsed = figures.total, figures.elapsed
    states = (
        f"{figures.up:,} up + {figures.down:,} down + {figures.excluded:,} excluded"
        f" + {figures.low_traffic:,} low traffic + {figures.no_data:,} no data"
    )
    yield ["Minutes", f"{states} = {elapsed:,} elapsed, of {total:,} in the month", f"{total:,}"]
    uptime = f"({total:,} {_MINUS} {figures.down:,}) / {total:,} = {total - figures.down:,} / {total:,}"
    yield ["Monthly uptime", uptime, percent(figures.monthly_uptime, 6)]
    raw = f"({total:,} {_MINUS} {figures.down_raw:,}) / {total:,} = {total - figures.down_raw:,} / {total:,}"
    yield ["Before exclusions", raw, percent(figures.monthly_uptime_raw, 6)]
    if elapsed < total:
        part = f"({elapsed:,} {_MINUS} {figures.down:,}) / {elapsed:,}" if elapsed else "nothing has elapsed"
        yield ["Of the elapsed part alone", part, percent(figures.elapsed_uptime, 6)]
    target = term_text(figures.target)
    allowed = f"{total:,} {_TIMES} (1 {_MINUS} {target}) = {term_text(total * (1 - figures.target))} minutes"
    yield ["Downtime that the target allows", allowed, f"{figures.downtime_minutes_allowed:,} min"]
    verdict = "more than that" if figures.is_breached else "not more than that"
    are = "is" if figures.down == 1 else "are"
    yield ["Verdict", f"{counted(figures.down, 'minute')} of downtime {are} {verdict}", verdict_text(figures)]
    yield [
        "Coverage",
        f"{counted(figures.with_data, 'minute')} with data / {elapsed:,} elapsed",
        percent(figures.coverage, 6),
    ]
    valid, failed, invalid = figures.adjusted
    succeeded, failed_text, invalid_text = map(requests_text, (valid - failed, failed, invalid))
    requests = f"{succeeded} succeeded + {failed_text} failed; {invalid_text} more were not valid"
    yield ["Valid requests", requests, f"{figures.valid:,}"]
    spans = figures.spans
    beside = f"{spans.spared:,} spared by their code; {spans.sampled:,} of sampled traces"
    yield ["Spans", f"{beside}; {spans.unthresholded:,} without a sampling threshold", f"{spans.total:,}"]


def _periods(figures: MonthFigures, zone: str) -> Iterator[Markup]:
    periods = figures.downtime_periods
    if not periods:
        yield tag("p", "No downtime periods.")
        return
    shown = sorted(sorted(periods, key=lambda period: -period.minutes)[:PERIODS_MAX], key=lambda p: p.start_minute)
    if len(shown) < len(periods):
        yield tag("p", f"The {len(shown)} longest of {len(periods):,}; all are in the JSON and CSV reports.")
    head = ["From", "To", "Minutes", "In this month", "Excluded", "Failed of valid"]
    caption = "Downtime periods, before exclusions"
    yield table(head, (_period_row(period, zone) for period in shown), "periods", caption)


def _period_row(period: DowntimePeriod, zone: str) -> list[Child]:
    return [
        _minute_times(period.start_minute, zone),
        _minute_times(period.stop_minute, zone),
        f"{period.minutes:,}",
        f"{period.minutes_in_month:,}",
        f"{period.excluded_minutes:,}",
        f"{period.failed:,} of {period.valid:,}",
    ]


def exclusions_alone_section(section: AgreementReport) -> Iterator[Markup]:
    """Write the exclusions that are meant for no series of the month; nothing where there are none."""
    if section.exclusions:
        caption = "Exclusions that are meant for no series of the month"
        yield from _exclusions(section.exclusions, section.agreement.time_zone, caption)


def _exclusions(exclusions: Sequence[ExclusionReport], zone: str, caption: str) -> Iterator[Markup]:
    if not exclusions:
        yield tag("p", "No exclusions.")
        return
    head = ["From", "To", "Reason and note", "Decision", "Minutes saved"]
    yield table(head, (_exclusion_row(exclusion, zone) for exclusion in exclusions), "exclusions", caption)


def _exclusion_row(exclusion: ExclusionReport, zone: str) -> list[Child]:
    window = exclusion.window
    said: list[Child] = [words_of(window.reason.value)]
    if window.group is not None:
        said.append(", for this series alone")
    if window.note:
        said += [Markup("<br/>"), tag("bdi", window.note)]
    if window.recorded_at is not None:
        said += [Markup("<br/>"), tag("span", "recorded by ", tag("bdi", window.recorded_by), class_="quiet")]
        said.append(tag("span", f", {moment_in(window.recorded_at, zone)}", class_="quiet"))
    decision = "accepted" if exclusion.refusal is None else f"REFUSED: {words_of(exclusion.refusal.value)}"
    decided: list[Child] = [decision if exclusion.withdrawn is None else tag("bdi", withdrawal_text(exclusion, zone))]
    if window.announced_at is not None:
        announced = f"announced {moment_in(window.announced_at, zone)}"
        decided += [Markup("<br/>"), tag("span", announced, class_="quiet")]
    return [
        _times(moment_in(window.start, zone), moment_in(window.start, "UTC")),
        _times(moment_in(window.stop, zone), moment_in(window.stop, "UTC")),
        join(said),
        join(decided),
        f"{exclusion.minutes_saved:,}",
    ]


def _minute_times(epoch_minute: int, zone: str) -> Markup:
    return _times(short_minute(epoch_minute, zone), short_minute(epoch_minute, "UTC"))


def _times(local: str, utc: str) -> Markup:
    """Local time, and under it UTC unless both are the same."""
    if local == utc:
        return tag("span", utc, class_="time")
    return tag("span", local, Markup("<br/>"), tag("span", utc, class_="quiet"), class_="time")
