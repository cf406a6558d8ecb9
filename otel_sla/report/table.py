"""The report for people in a terminal: as wide as it is, one line a series, in colours where it shows them.

Colour only repeats what words say, and what senders put into names cannot steer the terminal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from otel_sla.report import wording
from otel_sla.report.document import AgreementReport, ExclusionReport, Report, SeriesReport
from otel_sla.report.notes import each_note
from otel_sla.report.terms import counting_term, each_outcome_term
from otel_sla.report.wording import moment_in, percent, printable, short_minute
from otel_sla.sla.agreement import Agreement, NoData
from otel_sla.sla.figures_text import counted, term_percent_text
from otel_sla.sla.uptime import DowntimePeriod, SpanCounts

_PROSE_WIDTH = 80  # Where no terminal says how wide it is.
_NAME_WIDTH_MIN, _NAME_WIDTH_ENOUGH = 8, 12
_WRAPPING = Console(_environ={})  # Breaks lines; nothing is printed on it.

# Graphic renditions (ECMA-48).
_BOLD, _DIM, _GREEN, _RED = "1", "2", "32", "1;31"
_VERDICTS = {"BREACHED": _RED, "kept": _GREEN, "kept so far": _GREEN}

Columns = dict[str, list[str]]  # Head -> cells.


@dataclass(frozen=True, slots=True)
class Screen:
    """What the report is written for."""

    width: int | None = None  # Columns; None: a file or a pipe, in which every name is whole and every row one line.
    has_colours: bool = False


def render_table(report: Report, screen: Screen = Screen()) -> str:
    """Write the report as text; ends with a line feed."""
    page = _Page(screen)
    page.write(f"{wording.month_name(report.month)}, {wording.generated_text(report)}", style=_DIM)
    for agreement in report.agreements:
        page.write("")
        _write_agreement(page, agreement)
    return "".join(f"{line.rstrip()}\n" for line in page.lines)


class _Page:
    """Lines as they are written, for a screen."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.lines: list[str] = []

    def write(self, words: str, indent: int = 0, style: str = "") -> None:
        """Write prose, broken between words, or within one that is longer than a line."""
        width = max((self.screen.width or _PROSE_WIDTH) - indent, 1)
        for line in Text(printable(words)).wrap(_WRAPPING, width):
            self.lines.append(" " * indent + self._styled(line.plain.rstrip(), style))

    def rows(
        self,
        columns: Iterable[tuple[str, Sequence[str]]],
        left: int,
        indent: int,
        left_out: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """Write a table of single lines: `left` columns of words, then numbers; any head may be there twice.

        `left_out` are columns that a wider terminal would have, `notes` is prose under each row.
        """
        head, *rows = zip(*((name, *cells) for name, cells in columns), strict=True)
        widths = [max(map(cell_len, column)) for column in zip(head, *rows, strict=True)]
        for number, row in enumerate((head, *rows)):
            line = " " * indent
            for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
                space = " " * (width - cell_len(cell))
                shown = self._styled(cell, _DIM if row is head else _VERDICTS.get(cell, ""))
                line += f"{shown}{space}  " if at < left else f"{space}{shown}  "
            self.lines.append(line)
            if notes and number:
                self.write(notes[number - 1], indent + 2)
        if left_out:
            self.write(f"Too narrow for: {', '.join(left_out)}; in a pipe there is all.", indent, _DIM)

    def leave_out(self, columns: Columns, order: Sequence[str], beside_width: int) -> list[str]:
        """Take columns away, in an order, until the others fit beside what else is in a line; give their names."""
        left_out: list[str] = []
        for name in order:
            if self.screen.width is None or beside_width + _width_of(columns) <= self.screen.width:
                break
            if columns.pop(name, None):
                left_out.append(name)
        return left_out

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if style and text and self.screen.has_colours else text


def _write_agreement(page: _Page, report: AgreementReport) -> None:
    zone = report.agreement.time_zone
    page.write(report.agreement.name, style=_BOLD)
    if report.series:
        page.write(wording.breached_text(report), style=_RED if report.breached else _GREEN)
    page.write(f"Agreed: {_terms_text(report.agreement)}.")
    page.write(f"{wording.range_text(report)}.")
    if version := wording.version_text(report):
        page.write(f"{version}.")
    for note in each_note(report):
        page.write(note)
    page.write("")
    if report.series:
        _write_figures(page, report)
    else:
        page.write(wording.absence_text(report), indent=2)
    for series in report.series:
        if series.figures.downtime_periods or series.exclusions or _beside_text(series.figures.spans):
            page.write("")
            page.write(wording.group_text(series), indent=2, style=_BOLD)
            _write_series(page, series, zone)
    if report.exclusions:
        page.write("")
        page.write("Exclusions that are meant for no series of the month", indent=2, style=_BOLD)
        _write_exclusions(page, report.exclusions, zone)
    page.write("")
    for _, heading, text in (*each_outcome_term(report.agreement), counting_term(report.agreement)):
        page.write(f"{heading}: {text}", indent=2, style=_DIM)


def _terms_text(agreement: Agreement) -> str:
    """Write the agreement's terms in one sentence: each of them changes what a figure says."""
    terms = agreement.downtime
    downtime = f"downtime is an error rate above {term_percent_text(terms.error_rate_above)}"
    if terms.valid_requests_min > 1:
        downtime += f" of at least {terms.valid_requests_min} requests a minute"
    if terms.period_minutes_min > 1:
        downtime += f" for at least {terms.period_minutes_min} minutes"
    silence = {
        NoData.UP: "silence is no downtime",
        NoData.DOWN: "silence is downtime",
        NoData.CARRY: "silence goes on as the minutes before it",
    }[terms.no_data]
    target = term_percent_text(agreement.target)
    return f"at least {target} uptime; {downtime}; {silence}; months in {agreement.time_zone}"


def _write_figures(page: _Page, report: AgreementReport) -> None:
    """One line a series. Where the terminal is too narrow, names give way first, then columns, then names further."""
    keys = report.agreement.group_by
    figures = [series.figures for series in report.series]
    has_raw = any(each.down_raw != each.down for each in figures)
    columns = {
        "uptime": [percent(each.monthly_uptime) for each in figures],
        "raw": [percent(each.monthly_uptime_raw) for each in figures] if has_raw else [],
        "elapsed": [percent(each.elapsed_uptime) for each in figures] if report.is_running else [],
        "target": [wording.verdict_text(each) for each in figures],
        "downtime": [f"{each.down:,} of {each.downtime_minutes_allowed:,} min" for each in figures],
        "coverage": [percent(each.coverage, 2) for each in figures],
    }
    columns = {name: cells for name, cells in columns.items() if cells}
    left_out = page.leave_out(columns, ("elapsed", "raw"), 2 + _NAME_WIDTH_ENOUGH)
    left_out += page.leave_out(columns, ("coverage",), 2 + _NAME_WIDTH_MIN)
    names = [_name_cell(series, keys) for series in report.series]
    head, shown = ", ".join(keys) or "series", names
    if page.screen.width is not None:
        room = max(page.screen.width - 2 - _width_of(columns), _NAME_WIDTH_MIN)
        shown = [_shortened(name, room) for name in names]
        head = _shortened(head, max(room, *map(cell_len, shown)))
    page.rows([(head, shown), *columns.items()], left=1, indent=2, left_out=left_out)
    if shown != names:
        page.write("Names are shortened to the terminal's width; in a pipe they are whole.", indent=2, style=_DIM)


def _width_of(columns: Mapping[str, Sequence[str]]) -> int:
    """Two spaces before each column included."""
    return sum(2 + max(map(len, [name, *cells])) for name, cells in columns.items())


def _name_cell(report: SeriesReport, keys: tuple[str, ...]) -> str:
    """The group's values alone, where the column's head has their keys; an empty one could not be seen."""
    group = report.series.group_text
    if report.series.is_overflow or report.former or tuple(group) != keys or not all(group.values()):
        return wording.group_text(report)
    return printable(", ".join(group.values())) or "all requests"


def _shortened(name: str, width: int) -> str:
    """Leave out the middle of a name that does not fit: the ends tell names apart."""
    if cell_len(name) <= width:
        return name
    front, back = (width - 1) - (width - 1) // 2, (width - 1) // 2
    return f"{set_cell_size(name, front).rstrip()}\u2026{set_cell_size(name[::-1], back)[::-1].lstrip()}"


def _write_series(page: _Page, report: SeriesReport, zone: str) -> None:
    figures = report.figures
    if figures.down_raw != figures.down:
        raw = f"Before exclusions {percent(figures.monthly_uptime_raw)}, {figures.down_raw:,} min of downtime."
        page.write(raw, indent=4)
    if beside := _beside_text(figures.spans):
        page.write(beside, indent=4)
    if figures.downtime_periods:
        _write_periods(page, figures.downtime_periods, zone)
    if report.exclusions:
        _write_exclusions(page, report.exclusions, zone)


def _beside_text(spans: SpanCounts) -> str:
    """What was counted besides, where there is any of it."""
    parts = [f"{spans.spared:,} spared"] if spans.spared else []
    parts += [f"{spans.sampled:,} of sampled traces"] if spans.sampled else []
    return f"Of {counted(spans.total, 'span')} {', '.join(parts)}." if parts else ""


def _write_periods(page: _Page, periods: Sequence[DowntimePeriod], zone: str) -> None:
    columns = _times(
        {
            "down from": [short_minute(period.start_minute, zone) for period in periods],
            "to": [short_minute(period.stop_minute, zone) for period in periods],
        }
    )
    columns["min"] = [f"{period.minutes:,}" for period in periods]
    columns["failed"] = [f"{period.failed:,} of {period.valid:,}" for period in periods]
    if any(period.minutes_in_month != period.minutes for period in periods):
        columns["in this month"] = [f"{period.minutes_in_month:,}" for period in periods]
    if any(period.excluded_minutes for period in periods):
        columns["excluded"] = [f"{period.excluded_minutes:,}" for period in periods]
    left_out = page.leave_out(columns, ("failed", "excluded", "in this month"), 4 - 2)
    page.rows(columns.items(), left=2, indent=4, left_out=left_out)


def _write_exclusions(page: _Page, exclusions: Sequence[ExclusionReport], zone: str) -> None:
    """A line for each, and under it its fate, which is prose; the reason stands there if the line has no room."""
    columns = _times(
        {
            "excluded from": [moment_in(each.window.start, zone) for each in exclusions],
            "to": [moment_in(each.window.stop, zone) for each in exclusions],
        }
    )
    columns["reason"] = reasons = [wording.words_of(each.window.reason.value) for each in exclusions]
    fates = [_fate_text(each, zone) for each in exclusions]
    if page.leave_out(columns, ("reason",), 4 - 2):
        fates = [f"{reason}: {fate}" for reason, fate in zip(reasons, fates, strict=True)]
    page.rows(columns.items(), left=len(columns), indent=4, notes=fates)


def _times(columns: Columns) -> Columns:
    """Say the offset once, in the first column's head, where all times have the same one."""
    offsets = {cell.rpartition(" ")[2] for cells in columns.values() for cell in cells}
    if len(offsets) != 1:
        return columns
    offset = f" {offsets.pop()}"
    first, *others = columns
    heads = [f"{first} ({offset.strip()})", *others]
    return {
        head: [cell.removesuffix(offset) for cell in cells] for head, cells in zip(heads, columns.values(), strict=True)
    }


def _fate_text(exclusion: ExclusionReport, zone: str) -> str:
    window = exclusion.window
    fate = f"accepted, saved {exclusion.minutes_saved:,} min"
    if exclusion.withdrawn is not None:
        fate = f"excludes nothing: {wording.withdrawal_text(exclusion, zone)}"
    elif exclusion.refusal is not None:
        fate = f"excludes nothing: {wording.words_of(exclusion.refusal.value)}"
    if exclusion.exclusion_id is not None:
        fate = f"exclusion {exclusion.exclusion_id} by {window.recorded_by}: {fate}"
    return f"{fate}; {window.note}" if window.note else fate
