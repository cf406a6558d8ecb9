"""Runs what `otel-sla replay` was asked for: counts files, shows how far it is, prints totals and reports."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from io import BufferedIOBase, BufferedReader
from itertools import islice
from pathlib import Path
from typing import cast

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from otel_sla.cli.commands import EXIT_FAILED
from otel_sla.cli.report import screen
from otel_sla.config import Config
from otel_sla.counting.first_requests import spared_text
from otel_sla.errors import ReplayError
from otel_sla.ledger.writer import Ledger
from otel_sla.replay.counting import ReplayCounter, Totals
from otel_sla.replay.replay import Progress, Replay, ReplayOptions
from otel_sla.replay.session import each_report, private_ledger, start_counting
from otel_sla.report.document import Report
from otel_sla.report.json import render_json
from otel_sla.report.table import render_table
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.figures_text import counted
from otel_sla.sla.months import Month

_WARNINGS_MAX = 20  # Thousands of broken lines say no more than some; the totals count all.
_NOTHING_TO_REPORT = "No request of an agreement was found, so there is no month to report.\n"


def count_into_ledger(settings: Config, files: Sequence[Path], options: ReplayOptions) -> None:
    """Count files into the ledger; one that was made for them, and that holds nothing when they fail, is removed."""
    with closing(Ledger.open(settings.ledger.url, may_create=settings.ledger.may_create)) as ledger:
        try:
            _count(ledger, settings, files, options, is_report_next=False)
        except ReplayError:
            if ledger.is_new and not ledger.series():
                ledger.remove()
            raise


def print_dry_run(
    settings: Config,
    files: Sequence[Path],
    options: ReplayOptions,
    month: Month | None,
    shown_time: datetime | None,
    *,
    is_json: bool,
) -> None:
    """Count files into a ledger of their own and print the reports of a month, or of all that are found."""
    with private_ledger() as ledger:
        counting = _count(ledger, settings, files, options, is_report_next=True)
        reports = each_report(ledger, settings, month, counting.days, shown_time)
        stream = typer.get_binary_stream("stdout")
        stream.write((_only_json(reports) if is_json else _tables(reports)).encode())
        stream.flush()


def _count(
    ledger: Ledger, settings: Config, files: Sequence[Path], options: ReplayOptions, *, is_report_next: bool
) -> ReplayCounter:
    """Count all files; the totals are printed however it ends."""
    counting = start_counting(ledger, settings, time.time_ns)
    started_s = time.monotonic()
    try:
        with open_display(sum(path.stat().st_size for path in files if str(path) != "-")) as display:
            replay = Replay(counting, options, on_left_out=display.warn, on_progress=display.show)
            for path in files:
                display.begin_file()
                if str(path) == "-":
                    replay.count("standard input", cast("BufferedIOBase", typer.get_binary_stream("stdin")))
                else:
                    with _opened(path) as file:
                        replay.count(str(path), file)
    except KeyboardInterrupt:
        typer.echo("otel-sla: interrupted; the same command goes on from where it stopped", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    finally:
        for line in totals_lines(counting.totals, settings.agreements, time.monotonic() - started_s):
            typer.echo(line, err=is_report_next)
        if counting.totals.spans and not counting.totals.requests:
            typer.echo(f"  none is a request of an agreement: {counting.uncovered.reason()}", err=is_report_next)
    return counting


def _only_json(reports: Iterator[Report]) -> str:
    found = list(islice(reports, 2))
    if len(found) != 1:
        problem = "several months are" if found else "no month with requests of an agreement is"
        raise typer.BadParameter(f"is needed for JSON: {problem} found", param_hint="--month")
    return render_json(found[0])


def _tables(reports: Iterator[Report]) -> str:
    return "".join(render_table(report, screen()) for report in reports) or _NOTHING_TO_REPORT


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise ReplayError(f"{path} cannot be read: {error.strerror}") from error


class Display:
    """Shows how far a replay of `size_bytes` (0: unknown) is: by a line on standard error, at most every `every_s`."""

    def __init__(self, size_bytes: int, every_s: float = 10.0) -> None:
        self._every_s = every_s
        self._size_bytes_total = size_bytes
        self._shown_s = time.monotonic()
        self._warnings_count = 0
        self._size_bytes_before = 0  # Of the files before this one.
        self._size_bytes = 0  # Of this one, so far.

    def begin_file(self) -> None:
        """Go on to the next file."""
        self._size_bytes_before += self._size_bytes
        self._size_bytes = 0

    def show(self, progress: Progress) -> None:
        """Take the progress within a file; it is shown when the last one was shown long enough ago."""
        self._size_bytes = progress.size_bytes_read
        now_s = time.monotonic()
        if now_s - self._shown_s >= self._every_s:
            self._shown_s = now_s
            self.move(progress.name, self._size_bytes_before + self._size_bytes, progress.spans)

    def warn(self, line: str) -> None:
        """Print what was left out."""
        self._warnings_count += 1
        if self._warnings_count <= _WARNINGS_MAX + 1:
            more = "there are more; the totals count them"
            self.print(f"otel-sla: warning: {line if self._warnings_count <= _WARNINGS_MAX else more}")

    def print(self, line: str) -> None:
        """Write a line."""
        typer.echo(line, err=True)

    def move(self, name: str, size_bytes: int, spans: int) -> None:
        """Show so many bytes of all files."""
        share = f", {size_bytes * 100 // self._size_bytes_total} % of all files" if self._size_bytes_total else ""
        self.print(f"otel-sla: {name}: {counted(spans, 'span')}{share}")


class _BarDisplay(Display):
    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes, every_s=0.1)
        self.progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[spans]}"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            auto_refresh=False,  # A thread of its own would take its share of the one core.
            transient=True,
        )
        self._task = self.progress.add_task("", total=size_bytes or None, spans="")

    def print(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def move(self, name: str, size_bytes: int, spans: int) -> None:
        self.progress.update(self._task, description=name, completed=size_bytes, spans=counted(spans, "span"))
        self.progress.refresh()


@contextmanager
def open_display(size_bytes: int) -> Iterator[Display]:
    """Give a display on standard error: a bar if that is a terminal, lines if not."""
    if sys.stderr.isatty():
        display = _BarDisplay(size_bytes)
        with display.progress:
            yield display
    else:
        yield Display(size_bytes)


def totals_lines(totals: Totals, agreements: Sequence[Agreement], duration_s: float) -> Iterator[str]:
    """Say what was counted and what was left out, of all files."""
    rate = round(totals.spans / max(duration_s, 1e-9))
    spans, records = counted(totals.spans, "span"), counted(totals.records, "record")
    yield f"counted {spans} of {records} in {duration_s:.1f} s, {rate:,} spans/s"
    for agreement in sorted({agreement for agreement, _ in totals.requests}):
        counts = ", ".join(f"{totals.requests[agreement, each]:,} {each.name.lower()}" for each in Outcome)
        yield f"  {agreement}: {counts}"
    for count, noun, meaning in (
        (totals.earlier_records, "record", "counted by an earlier replay"),
        (totals.duplicate_spans, "span", "counted before: their sender repeated them"),
        (totals.future_spans, "span", "rejected: they end further ahead of the clock than processor.future_spans_max"),
        (totals.malformed_spans, "span", "rejected: they have no end time"),
        (totals.overflow_requests, "request", "counted in an overflow series (processor.series_max)"),
        *(
            (count, "span", f"without a status code in {key}, but {totals.notes.unusable_status[key]} or the like")
            for key, count in sorted(totals.notes.unusable_status_spans.items())
        ),
        (totals.notes.unknown_parent_spans, "span", "not saying whether the parent is remote (entry_spans_only)"),
        (totals.notes.sampled_spans, "span", "sampled: error rates are biased unless counting is adjusted"),
        (totals.notes.unusable_threshold_spans, "span", "with a sampling threshold that cannot be read"),
        (totals.notes.spared_requests, "request", "with a failing HTTP status that error_rate.code spares"),
        (totals.other_signal_records, "record", "skipped: metrics, logs or profiles"),
        (totals.broken_records, "record", "skipped: broken"),
        (totals.padding_size_bytes, "byte", "skipped: zeros or a byte order mark before a record"),
        (totals.headless_size_bytes, "byte", "skipped: the first line of a file is not a whole record"),
        (totals.skipped_files, "file", "skipped, or the rest of it"),
        (totals.incomplete_size_bytes, "byte", "at the end of files, no whole record yet"),
    ):
        if count:
            yield f"  {counted(count, noun)} {meaning}"
    for each in agreements:
        is_spared = each.name in totals.notes.spared_codes and not totals.requests[each.name, Outcome.FAILED]
        if each.code is not None and is_spared:
            yield f"  {spared_text(each.name, each.code.attribute, totals.notes)}"
    if totals.sealed_spans:
        yield (
            f"  {counted(totals.sealed_spans, 'span')} of sealed minutes, whose fingerprints are forgotten:"
            " any that otel-sla run had counted are counted twice now"
        )
