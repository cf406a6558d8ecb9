"""Power fails under a pipeline; `make powercut` is the long form."""

import asyncio
import random
from pathlib import Path

import pytest
from disk.aftermath import lay_down
from disk.calls import watching, why_unreachable
from disk.life import Plan, ledger_config, live
from disk.power import files_after_power_cut, files_without_power_cut
from disk.record import Acknowledged, Known, Record, Sync, read_files
from disk.sender import Sender
from pipeline_parts import Clock
from powercut import START, power_cuts

pytestmark = pytest.mark.skipif(bool(why_unreachable()), reason=why_unreachable() or "reachable")


def test_acknowledged_spans_survive_power_cuts() -> None:
    """Ten ledgers, three lives each, a power cut in each: nothing acknowledged is lost, no repeat counts twice."""
    told: list[str] = []
    sums = power_cuts(10, 1, told.append, cuts=1)
    assert told == []
    assert sums["cuts"] == 30
    assert sums["acknowledged_spans"] > 1000


@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_losses_are_found_when_the_disk_is_not_waited_for(synchronous: str) -> None:
    """With commits that do not wait for the disk, the same runs find acknowledged spans lost: the test can fail."""
    sums = power_cuts(4, 1, str, pragmas=(f"synchronous = {synchronous}",))
    assert sums["runs_with_losses"] >= 2


def test_power_may_fail_while_a_ledger_is_made(tmp_path: Path) -> None:
    """Whatever a first start had written when power failed, the next start makes a ledger of it."""
    rng, clock = random.Random(1), Clock(START)
    sender = Sender(rng)
    with watching(tmp_path, record := Record({})):
        assert asyncio.run(live(ledger_config(tmp_path), clock, sender, Plan((), {}), record)) is None
    (tmp_path / "cuts").mkdir()
    for stop in range(len(record.operations)):
        folder = tmp_path / "cuts" / str(stop)
        lay_down(files_after_power_cut(record, stop, rng), folder)
        assert sender.compare(ledger_config(folder).ledger.url, Known()).complaints == ()


def test_the_record_is_complete(tmp_path: Path) -> None:
    """What is recorded gives the very bytes of the files; and each acknowledgement comes after the log was synced."""
    sender = Sender(random.Random(1))
    plan = Plan(tuple(((number,),) for number in sender.make(3, START)), {1: 0}, 3)
    with watching(tmp_path, record := Record({})):
        assert asyncio.run(live(ledger_config(tmp_path), Clock(START), sender, plan, record)) is None
    assert files_without_power_cut(record) == read_files(tmp_path)
    ends = [operation for operation in record.operations if isinstance(operation, Acknowledged | Sync)]
    assert sum(isinstance(operation, Acknowledged) for operation in ends) == 3
    assert isinstance(ends[0], Sync)


def test_an_unsynced_sector_may_be_lost_and_a_synced_one_not() -> None:
    """Of two writes with a sync between them, the first is always there, the second sometimes, sometimes in part."""
    record = Record({"a.db": b"-" * 2048})
    record.opened(1, "a.db", is_new=False)
    record.written(1, 0, b"1" * 1024)
    record.synced(1, has_failed=False)
    record.written(1, 512, b"2" * 1024)
    rng = random.Random(1)
    found = {files_after_power_cut(record, len(record.operations), rng)["a.db"] for _ in range(100)}
    assert {content[:512] for content in found} == {b"1" * 512}
    assert {content[512:1024] for content in found} == {b"1" * 512, b"2" * 512}
    assert {content[512:1536] for content in found} == {
        first * 512 + second * 512 for first in (b"1", b"2") for second in (b"-", b"2")
    }


def test_a_name_may_be_lost_before_the_folder_is_synced() -> None:
    """A new file whose folder was not synced may be gone, although the file itself was."""
    record = Record({})
    record.opened(1, "a.db", is_new=True)
    record.written(1, 0, b"1")
    record.synced(1, has_failed=False)
    rng = random.Random(1)
    found = [files_after_power_cut(record, len(record.operations), rng).get("a.db") for _ in range(50)]
    assert set(found) == {None, b"1"}
    record.names_synced()
    found = [files_after_power_cut(record, len(record.operations), rng).get("a.db") for _ in range(50)]
    assert set(found) == {b"1"}


def test_a_failed_sync_is_not_made_good_by_the_next() -> None:
    """What a failed sync may have thrown away may be missing after later ones that did not fail."""
    record = Record({"a.db": b"-"})
    record.opened(1, "a.db", is_new=False)
    record.written(1, 0, b"1")
    record.synced(1, has_failed=True)
    record.synced(1, has_failed=False)
    rng = random.Random(1)
    found = {files_after_power_cut(record, len(record.operations), rng)["a.db"] for _ in range(50)}
    assert found == {b"-", b"1"}
