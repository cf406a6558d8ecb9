"""Attacks a running pipeline in every way that is known here; `make hostile`.

Each attack is told with its answer, the memory that the pipeline had at most, and its time. One that is answered
wrongly, takes too much or keeps others from being served ends in exit code 1.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


from progress import say

from hostile.cases import Case, every_case
from hostile.floods import every_flood
from hostile.guard import Guard
from hostile.large import every_large_flood
from hostile.page import PAGE, every_page_case, every_page_flood
from hostile.pipelining import every_pipelining
from hostile.strangers import every_certificate_case, every_stranger_flood, every_tokenless_case
from hostile.target import MIB, Target

PEAK_RATIO_MAX = 2.0  # Of the idle memory.


def try_case(case: Case, target: Target) -> list[str]:
    """Attack once; gives what was wrong."""
    target.reset_peak()
    started_s = time.monotonic()
    answer = case.attack(target)
    peak = target.peak_bytes()
    say(
        f"{case.name:45} {answer:20} {peak / MIB:5.0f} MiB, {peak / target.idle_bytes:4.2f} x idle,"
        f" {time.monotonic() - started_s:5.2f} s"
    )
    problems = []
    if answer not in case.answers:
        problems.append(f"{case.name}: answered {answer}, not {' or '.join(sorted(case.answers))}")
    if peak > PEAK_RATIO_MAX * target.idle_bytes:
        problems.append(f"{case.name}: {peak / MIB:.0f} MiB, idle {target.idle_bytes / MIB:.0f}")
    return problems


def try_cases(cases: Iterable[Case], only: str, **settings: Any) -> list[str]:  # noqa: ANN401 - as of Target.
    """Attack one pipeline in several ways; gives what was wrong."""
    wanted = [case for case in cases if only in case.name]
    if not wanted:
        return []
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder, Target(Path(folder), **settings) as target:
        say(f"idle: {target.idle_bytes / MIB:.0f} MiB")
        for case in wanted:
            problems += try_case(case, target)
        target.send_good()
        problems += [f"the log says: {line}" for line in target.complaints]
    return problems


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="attacks whose names hold this")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement beside a flood")
    parser.add_argument("--floods", action="store_true", help="only those")
    arguments = parser.parse_args()
    problems: list[str] = []
    if not arguments.floods:
        problems += try_cases(every_case(), arguments.only)
        problems += try_cases(every_tokenless_case(), arguments.only, guard=Guard())
        with tempfile.TemporaryDirectory() as folder:
            problems += try_cases(every_certificate_case(), arguments.only, guard=Guard(Path(folder)))
        problems += try_cases(every_page_case(), arguments.only, page=PAGE)
    floods = (every_flood(), every_pipelining(), every_large_flood(), every_stranger_flood(), every_page_flood())
    for flood in chain.from_iterable(floods):
        if arguments.only in flood.name:
            with tempfile.TemporaryDirectory() as folder, Target(Path(folder), **flood.settings) as target:
                target.reset_peak()
                found, told = flood.attack(target, arguments.seconds)
                peak = target.peak_bytes()
                say(f"{flood.name:45} {told}; {peak / MIB:.0f} MiB, {peak / target.idle_bytes:.2f} x idle")
                target.send_good()
                problems += [f"{flood.name}: {problem}" for problem in found]
                if peak > PEAK_RATIO_MAX * target.idle_bytes and "processor" not in flood.settings:
                    problems.append(f"{flood.name}: {peak / MIB:.0f} MiB")
    say("\n".join(problems) or "every attack was answered as it should be")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
