"""Lets each call on the disk fail in turn, and counts what the pipeline had acknowledged.

One short life of a pipeline (disk/life.py) is lived as often as it has calls: each time another one fails, with
an error of the disk, a full disk or a short write, once or from then on. Whatever fails: the pipeline ends with one
`LedgerError` or goes on soundly; after a failed sync nothing is acknowledged any more; on the healthy disk, and also if
power had failed at any moment after the fault, the ledger holds all that was acknowledged, and repeats count once.

It is done on a new ledger, and on one whose pipeline was killed. `make iofaults` tries every call of each and kills a
sample of real processes, the test (tests/integration/test_io_faults.py) tries some.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


from disk.aftermath import lay_down, look
from disk.calls import watching, why_unreachable
from disk.faults import FAULTS, Fault, FaultyDisk
from disk.life import Plan, ledger_config, live
from disk.power import files_after_power_cut, files_without_power_cut
from disk.process import try_process
from disk.record import Acknowledged, Known, Name, Record, Resize, Sync, Write, read_files
from disk.sender import MINUTE_NANOS, Sender
from pipeline_parts import Clock
from powercut import START

from otel_sla.errors import LedgerError

POWER_CUTS = 1  # That are looked at after each fault.


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a life begins, and what is sent in it."""

    sender: Sender
    files: dict[str, bytes]
    known: Known
    plan: Plan


def new_ledger() -> Stage:
    """Nothing is there; the log is moved into the file now and then, and an hour is packed."""
    sender = Sender(random.Random(1))
    waves = tuple(tuple(sender.batched(sender.make(4, START))) for _ in range(2))
    return Stage(sender, {}, Known(), Plan(waves, {0: 61 * MINUTE_NANOS}, 8))


def killed_ledger(folder: Path) -> Stage:
    """A pipeline was killed after it had acknowledged most of what it was sent: its log is still there."""
    stage = new_ledger()
    with watching(folder, record := Record({})):
        failure = asyncio.run(live(ledger_config(folder), Clock(START), stage.sender, stage.plan, record))
    assert failure is None, failure
    answers = [index for index, one in enumerate(record.operations) if isinstance(one, Acknowledged)]
    stop = answers[-1] + 1
    files = _files_after_kill(record, stop)
    known = Known().after(record.operations[:stop])
    unanswered = sorted(known.begun - known.acknowledged)
    new = stage.sender.make(4, START)
    waves = (tuple(stage.sender.batched(unanswered)), tuple(stage.sender.batched(new)))
    return Stage(stage.sender, files, known, Plan(waves, {1: MINUTE_NANOS}, 8))


def try_fault(stage: Stage, fault: Fault, at: int | None, folder: Path, power_cuts: int) -> tuple[FaultyDisk, str]:
    """Live with one fault. Gives what the disk saw, and what is wrong with that, empty if nothing."""
    rng = random.Random(at or 0)
    lay_down(stage.files, folder / "life")
    disk = FaultyDisk(read_files(folder / "life"), fault, at)
    clock = Clock(START)
    try:
        with watching(folder / "life", disk):
            failure = asyncio.run(live(ledger_config(folder / "life"), clock, stage.sender, stage.plan, disk))
    except Exception as error:  # noqa: BLE001 - whatever it is, the pipeline should not have let it through.
        return disk, f"the pipeline raised {error!r}"
    if complaint := _of_the_end(disk, failure):
        return disk, complaint
    for number in range(power_cuts):
        stop = rng.randrange(disk.refused_at, len(disk.operations) + 1)
        cut = folder / f"cut-{number}"
        lay_down(files_after_power_cut(disk, stop, rng), cut)
        known = stage.known.after(disk.operations[:stop])
        if not known.acknowledged and "fsync of the folder" in disk.refused:
            # SQLite does not look whether its journal's name is durable, so a ledger that is being made may be broken
            # then. It holds nothing that anybody was told of, and is refused: a new one can be made.
            continue
        found = look(cut, stage.sender, known, clock.now, rng)
        if found.complaints:
            return disk, f"and power failed after {stop} operations: {'; '.join(found.complaints)}"
    found = look(folder / "life", stage.sender, stage.known.after(disk.operations), clock.now, rng)
    return disk, "; ".join(found.complaints)


def _of_the_end(disk: FaultyDisk, failure: LedgerError | None) -> str:
    """What is wrong with how a life ended."""
    if failure is not None and (not str(failure) or "\n" in str(failure)):
        return f"the error is not one line: {failure}"
    for index, operation in enumerate(disk.operations):
        if isinstance(operation, Sync) and operation.has_failed:
            later = [one for one in disk.operations[index:] if isinstance(one, Acknowledged)]
            return f"{len(later)} requests were acknowledged after a failed sync" if later else ""
    return ""


def _files_after_kill(record: Record, stop: int) -> dict[str, bytes]:
    """All that was written is there, as the kernel has it."""
    kept = [one for one in record.operations[:stop] if isinstance(one, Write | Resize | Name)]
    whole = Record(record.before)
    whole.operations = kept
    return files_without_power_cut(whole)


def io_faults(
    tell: Callable[[str], object], *, step: int = 1, faults: tuple[Fault, ...] = FAULTS, power_cuts: int = POWER_CUTS
) -> Counter[str]:
    """Try every call that can fail, or each so many-th; tells what was wrong with which."""
    sums: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stages = {"new": new_ledger(), "killed": killed_ledger(_made(folder / "killed"))}
        for fault, (stage_name, stage) in product(faults, stages.items()):
            healthy, wrong = try_fault(stage, fault, None, _made(folder / f"{stage_name}-{fault}"), power_cuts)
            assert not wrong, wrong
            for at in range(step // 2, healthy.n_calls, step):
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    disk, wrong = try_fault(stage, fault, at, Path(place), power_cuts)
                if sums["tried"] % 500 == 499:
                    tell(f"{sums['tried'] + 1} calls have failed in turn")
                sums.update({"tried": 1, "bad": int(bool(wrong)), f"first {next(iter(disk.refused), 'none')}": 1})
                if wrong:
                    tell(f"{stage_name} ledger, {fault}, call {at} ({', '.join(disk.refused)}): {wrong}")
    return sums


def process_faults(tell: Callable[[str], object], count: int) -> Counter[str]:
    """Let calls fail under so many real processes, early and late ones; tells what was wrong with which."""
    rng, sums = random.Random(1), Counter[str]()
    for number in range(count):
        fault, at = FAULTS[number % len(FAULTS)], rng.randrange(400)
        with tempfile.TemporaryDirectory() as folder:
            code, wrong = try_process(fault, at, Path(folder))
        sums.update({"processes": 1, f"exit code {code}": 1, "bad": int(bool(wrong))})
        if wrong:
            tell(f"process, {fault}, call {at}: {wrong}")
    return sums


def _made(folder: Path) -> Path:
    """A new folder."""
    folder.mkdir()
    return folder


def main() -> None:
    """Try all; the exit code tells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=1, help="only each so many-th call")
    parser.add_argument("--processes", type=int, default=30, help="how many real processes have a call fail")
    arguments = parser.parse_args()
    if reason := why_unreachable():
        sys.exit(reason)
    sums = io_faults(print, step=arguments.step) + process_faults(print, arguments.processes)
    sys.stdout.write(", ".join(f"{name} {value:,}" for name, value in sums.items()) + "\n")
    sys.exit(1 if sums["bad"] else 0)


if __name__ == "__main__":
    main()
