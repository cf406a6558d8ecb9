"""A case's months through a real ledger to the report, beside the twin's; `python tests/report_twin.py` tries many."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import agreements
import naive
from ledger_parts import Row, count_rows

from otel_sla.ledger.ledger import Ledger
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Commit
from otel_sla.report.json import report_object
from otel_sla.reporting import elapsed_stop_minute, load_report
from otel_sla.sla.months import Month
from otel_sla.sla.series import Series


def rows_of(counted: naive.Counted) -> Iterator[Row]:
    """The twin's counts as rows of a ledger, series numbered in their order."""
    for series_id, minutes in enumerate(counted.series.values()):
        for minute, (succeeded, failed, invalid) in minutes.items():
            yield minute, series_id, succeeded, failed, invalid


def differences_of(seed: int, folder: Path) -> list[str]:
    """Where the reports of a case's months differ from the twin's."""
    case = agreements.random_case(seed)
    counted = naive.count(
        case.requests,
        case.agreements,
        late_spans_max=case.late_spans_max,
        future_spans_max=case.future_spans_max,
    )
    url = f"sqlite:///{folder}/ledger-{seed}.db"
    series = tuple(
        Series(number, name, group, is_overflow=False) for number, (name, group) in enumerate(counted.series)
    )
    ledger = Ledger.open(url)
    ledger.commit(Commit(series, count_rows(rows_of(counted)), ()))
    reader = LedgerReader.open(url)
    now = naive.EPOCH + timedelta(microseconds=case.now // 1000)
    found = []
    for month in case.months[:2]:
        expected = naive.report(month, case.agreements, counted.series, now=case.now, grace=case.grace)
        stop_minute = elapsed_stop_minute(now, case.grace)
        report = load_report(reader, case.agreements, Month.parse(month), stop_minute, now)
        found += naive.differences(expected, report_object(report), f"seed {seed}, {month}")
    reader.close()
    ledger.close()
    return found


def main() -> int:
    """Compares many cases; stops at the first that differs."""
    parser = argparse.ArgumentParser(description="Compares the reports of random months with the twin's.")
    parser.add_argument("--months", type=int, default=1000, help="how many; each case has two")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seed, arguments.seed + (arguments.months + 1) // 2):
            found = differences_of(seed, Path(folder))
            if found:
                sys.stderr.write("\n".join(found) + "\n")
                return 1
    sys.stdout.write(f"{arguments.months} months from seed {arguments.seed} on are the twin's, figure by figure\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
