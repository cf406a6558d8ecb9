"""Cuts the power under a pipeline again and again, and counts what it had acknowledged.

A pipeline lives on a disk of which every call is recorded (disk/). Power fails at some moment of that record: the
files become what a disk may hold then (disk/power.py), and the ledger is opened by the ordinary code. All that was
acknowledged by that moment has to be in it, each message whole or not at all, and what was told has to be told still.
The sender then repeats all that was not acknowledged, in other company, and in the end each span was counted once.

One run is a ledger that lives on through several power cuts, at any moment of its making, its counting, its recovery
from the cut before, and its clean end; of each life several cuts are looked at, and the last one is gone on from.

`make powercut` does it 300 times, the test (tests/integration/test_powercut.py) a few.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


from disk.aftermath import lay_down, look
from disk.calls import watching, why_unreachable
from disk.life import ledger_config, live, make_plan
from disk.power import files_after_power_cut, files_without_power_cut
from disk.record import Acknowledged, Known, Record, read_files
from disk.sender import MINUTE_NANOS, Sender
from pipeline_parts import Clock

LIVES = 3  # Of one ledger in one run.
CUTS = 4  # That are looked at in each life.
START = 1_795_000_020 * 10**9 // MINUTE_NANOS * MINUTE_NANOS  # Some minute of 2026-11.


@dataclass
class Tally:
    """What a run has come to."""

    cuts: int = 0
    acknowledged_spans: int = 0  # At the last cut of each life.
    lost_spans: int = 0
    wrong: str = ""  # Lost, counted twice, broken: the first that was found; the run ends with it.
    calls: int = 0


class Run:
    """One ledger's lives.

    Args:
        seed: Decides the requests, the cuts and what survives them.
        folder: An empty one.
        cuts: How many are looked at in each life.
        pragmas: For the writing connection; the ledger's own where empty.
    """

    def __init__(self, seed: int, folder: Path, cuts: int, pragmas: tuple[str, ...] = ()) -> None:
        self._cuts = cuts
        self._rng = random.Random(seed)
        self._folder = folder
        self._pragmas = pragmas
        self._sender = Sender(self._rng)
        self._clock = Clock(START)
        self._known = Known()
        self.tally = Tally()

    def run(self) -> Tally:
        """Live and be cut off, until something is wrong or the last life is over."""
        files: dict[str, bytes] = {}
        for number in range(LIVES):
            record = self._live(files, self._folder / f"life-{number}")
            stops = [self._choose_stop(record) for _ in range(self._cuts)]
            for stop in stops:
                known = self._known.after(record.operations[:stop])
                files = files_after_power_cut(record, stop, self._rng)
                folder = self._folder / f"cut-{self.tally.cuts}"
                lay_down(files, folder)
                found = look(folder, self._sender, known, self._clock.now, self._rng)
                self.tally.cuts += 1
                if found.complaints:
                    self.tally.lost_spans = found.lost_spans
                    self.tally.wrong = f"life {number}, cut after {stop} calls: {'; '.join(found.complaints)}"
                    return self.tally
            self._known = known
            self.tally.acknowledged_spans += self._sender.count_spans(known.acknowledged)
        return self.tally

    def _live(self, files: dict[str, bytes], folder: Path) -> Record:
        """Record one life, to its clean end."""
        lay_down(files, folder)
        record = Record(read_files(folder))
        unanswered = sorted(self._known.begun - self._known.acknowledged)
        plan = make_plan(self._sender, self._rng, self._clock, unanswered, sorted(self._known.acknowledged))
        plan = replace(plan, pragmas=self._pragmas)
        with watching(folder, record):
            failure = asyncio.run(live(ledger_config(folder), self._clock, self._sender, plan, record))
        assert failure is None, failure
        assert files_without_power_cut(record) == read_files(folder), "a call has gone past the record"
        self.tally.calls += len(record.operations)
        return record

    def _choose_stop(self, record: Record) -> int:
        """Any moment, or one just after an acknowledgement."""
        answers = [index + 1 for index, one in enumerate(record.operations) if isinstance(one, Acknowledged)]
        anywhere = self._rng.randrange(len(record.operations) + 1)
        return self._rng.choice([anywhere, self._rng.choice(answers or [anywhere])])


def power_cuts(
    runs: int, seed: int, tell: Callable[[str], object], *, cuts: int = CUTS, pragmas: tuple[str, ...] = ()
) -> Counter[str]:
    """Run with so many seeds; gives the sums, and tells what was wrong with which seed."""
    sums: Counter[str] = Counter()
    for number in range(seed, seed + runs):
        with tempfile.TemporaryDirectory() as folder:
            tally = Run(number, Path(folder), cuts, pragmas).run()
        sums.update(
            runs=1,
            cuts=tally.cuts,
            calls=tally.calls,
            acknowledged_spans=tally.acknowledged_spans,
            lost_spans=tally.lost_spans,
            bad_runs=int(bool(tally.wrong)),
            runs_with_losses=int(tally.lost_spans > 0),
        )
        if tally.wrong:
            tell(f"seed {number}: {tally.wrong}")
        if sums["runs"] % 50 == 0:
            tell(f"{sums['runs']} runs, {sums['cuts']} power cuts")
    return sums


def main() -> None:
    """Cut many times; the exit code tells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pragma", action="append", default=[], help="as synchronous=NORMAL, to see losses found")
    arguments = parser.parse_args()
    if reason := why_unreachable():
        sys.exit(reason)
    sums = power_cuts(arguments.runs, arguments.seed, print, pragmas=tuple(arguments.pragma))
    sys.stdout.write(", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in sums.items()) + "\n")
    sys.exit(1 if sums["bad_runs"] else 0)


if __name__ == "__main__":
    main()
