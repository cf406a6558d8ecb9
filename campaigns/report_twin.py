"""A case's months through a real ledger to the report, beside the twin's; `make months` tries many."""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


import agreements
import naive
from ledger_parts import Row, count_rows
from page_twin import page_differences
from random_months import MonthCase, random_month

from otel_sla.judging.month_report import elapsed_stop_minute, load_report
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.report.json import report_object
from otel_sla.sla.months import Month
from otel_sla.sla.series import Series

Seen = Counter[tuple[str, object]]  # What the months had in them.


def case_of_traffic(seed: int) -> MonthCase:
    """A case of `agreements` that the twin has counted, for its first two months."""
    case = agreements.random_case(seed)
    counted = naive.count(
        case.requests,
        case.agreements,
        late_spans_max=case.late_spans_max,
        future_spans_max=case.future_spans_max,
    )
    return MonthCase(
        source=f"case_of_traffic({seed})",
        is_packed=bool(seed % 2),
        agreements=case.agreements,
        series=counted.whole,
        recorded=(),
        months=case.months[:2],
        grace=case.grace,
        now=case.now,
    )


def rows_of(all_counts: Mapping[naive.SeriesKey, naive.MinuteCounts]) -> Iterator[Row]:
    """The twin's counts as rows of a ledger, series numbered in their order."""
    for series_id, minutes in enumerate(all_counts.values()):
        for minute, row in minutes.items():
            yield minute, series_id, *row


def write_ledger(case: MonthCase, url: str) -> None:
    """The case's counts and windows in a new ledger; its past packed or not."""
    series = tuple(Series(number, name, group, is_overflow=False) for number, (name, group) in enumerate(case.series))
    elapsed = naive.elapsed_stop(case.now, case.grace)
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(Commit(series, count_rows(rows_of(case.series)), ()))
        while case.is_packed and ledger.seal(elapsed - 1440, pack_before=elapsed):
            pass
    with closing(ExclusionWriter.open(url)) as notebook:
        for name, window, is_withdrawn in case.recorded:
            number = notebook.record_exclusion(name, window)
            if is_withdrawn:
                notebook.withdraw_exclusion(number, withdrawn_by="a test", withdrawn_at=case.moment, why="drawn")


def differences_of(case: MonthCase, folder: Path, seen: Seen | None = None, *, with_page: bool = False) -> list[str]:
    """Where the reports of a case's months differ from the twin's, and what the page shows from the reports."""
    url = f"sqlite:///{folder}/{case.source}.db"
    write_ledger(case, url)
    stop_minute = elapsed_stop_minute(case.moment, case.grace)
    found = []
    with closing(LedgerReader.open(url)) as reader:
        for month in case.months:
            expected = naive.report(
                month, case.agreements, case.series, now=case.now, grace=case.grace, recorded=case.standing
            )
            report = report_object(load_report(reader, case.agreements, Month.parse(month), stop_minute, case.moment))
            found += naive.differences(expected, without_withdrawn(report), f"{case.source}, {month}")
            if seen is not None:
                seen.update(traits_of(case, expected))
    return found + page_differences(case, url) if with_page else found


def without_withdrawn(report: dict[str, Any]) -> dict[str, Any]:
    """The report without the windows that were withdrawn: it lists them, the twin does not know them."""
    for section in report["agreements"]:
        for series in section["series"]:
            series["exclusions"] = [window for window in series["exclusions"] if "withdrawn_at" not in window]
    return report


def traits_of(case: MonthCase, report: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """What a month had in it, for those who ask whether all was tried."""
    for agreement, section in zip(case.agreements, report["agreements"], strict=True):
        for series in section["series"]:
            minutes = series["minutes"]
            yield agreement.time_zone, "clock change" if minutes["total"] % 1440 else "whole days"
            yield "no_data", agreement.downtime.no_data.name.lower()
            yield "period_minutes_min", agreement.downtime.period_minutes_min
            yield "breached", series["breached"]
            yield "counting", section["counting"]
            yield "spared", series["requests"]["spared"] > 0
            yield "sampled", series["requests"]["sampled"] > 0
            yield from (("state", state) for state, count in minutes.items() if count)
            for window in series["exclusions"]:
                yield "maintenance" if window["reason"] == "scheduled_maintenance" else "window", window["accepted"]
                yield "minutes saved", window["minutes_saved"] > 0


def cases_from(seed: int) -> Iterator[MonthCase]:
    """Cases without end, in turn one of traffic, which has two months, and two of counts."""
    for number in count(seed):
        yield case_of_traffic(number)
        yield random_month(2 * number)
        yield random_month(2 * number + 1)


def main() -> int:
    """Compares many cases; stops at the first that differs."""
    parser = argparse.ArgumentParser(description="Compares the reports of random months with the twin's.")
    parser.add_argument("--months", type=int, default=1000, help="how many, half of them drawn as traffic")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--page", action="store_true", help="compare page, API, badges and gauges, too")
    arguments = parser.parse_args()
    seen: Seen = Counter()
    months = 0
    for case in cases_from(arguments.seed):
        with tempfile.TemporaryDirectory() as folder:
            found = differences_of(case, Path(folder), seen, with_page=arguments.page)
        if found:
            sys.stderr.write("\n".join(found) + "\n")
            return 1
        months += len(case.months)
        if months >= arguments.months:
            break
    for trait, number in sorted(seen.items(), key=str):
        sys.stdout.write(f"{trait[0]}: {trait[1]}: {number} times\n")
    sys.stdout.write(f"{months} months from seed {arguments.seed} on are the twin's, figure by figure\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
