"""Requests share a commit, and a failed one ends all."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from otel_sla.counting.accountant import Accountant
from otel_sla.counting.receipt import Receipt
from otel_sla.counting.received import Counted, Durable
from otel_sla.errors import LedgerUnavailable, Overloaded
from otel_sla.self_metrics import SelfMetrics
from otel_sla.spans.request import is_joinable

is_joinable(b"", 1)  # Its kernel is compiled before the time of a test runs.


class GatedWrite:
    """A write that ends when the test says so, and tells how often it began."""

    def __init__(self) -> None:
        self.begun = 0
        self.gates: list[asyncio.Future[None]] = []

    async def __call__(self) -> None:
        """Write until the gate opens."""
        self.begun += 1
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate


class FakeCounts:
    """Counts each request as one span, and commits by a gated write."""

    def __init__(self, write: GatedWrite) -> None:
        self.is_full = False
        self.commit = write

    def count_joined(self, _body: bytes, _join: Callable[[], Durable]) -> Counted | None:
        """Refuse to count as one."""
        return None

    async def count(self, _body: bytes | memoryview, join: Callable[[], Durable]) -> Counted:
        """Count one."""
        return Counted({join()}, 1, Receipt())


async def until(is_true: Callable[[], bool]) -> None:
    """Let the loop turn until something holds; a bounded number of turns."""
    for _ in range(100):
        if is_true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def at_once() -> None:
    """No pause."""


def make_accountant(
    write: GatedWrite, pause: Callable[[], Awaitable[None]] = at_once, answer_within_s: float = 60.0
) -> Accountant:
    """An accountant over a gated write."""
    return Accountant(FakeCounts(write), SelfMetrics(lambda: 0), pause=pause, answer_within_s=answer_within_s)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario; it stops by itself."""
    asyncio.run(asyncio.wait_for(test(), 10))


def test_what_comes_during_a_commit_shares_the_next() -> None:
    """Three requests during one commit: exactly one more commit, and none is told before its own."""

    async def scenario() -> None:
        write = GatedWrite()
        commits = make_accountant(write)
        first = commits.join()
        await until(lambda: write.begun == 1)
        later = [commits.join() for _ in range(3)]
        assert later[0] is later[1] is later[2] is not first
        write.gates[0].set_result(None)
        await first
        await until(lambda: write.begun == 2)
        assert not later[0].done()
        write.gates[1].set_result(None)
        await later[0]
        await until(lambda: commits._loop_task is None)
        assert write.begun == 2

    run(scenario)


def test_a_commit_starts_without_a_timer_after_an_idle_time() -> None:
    """After all is written, the next request starts a commit at once."""

    async def scenario() -> None:
        write = GatedWrite()
        commits = make_accountant(write)
        for turn in range(3):
            joined = commits.join()
            await until(lambda turn=turn: write.begun == turn + 1)
            write.gates[turn].set_result(None)
            await joined
            await until(lambda: commits._loop_task is None)

    run(scenario)


def test_a_failed_commit_fails_all_who_wait_and_all_who_come() -> None:
    """The write fails: the running batch, the gathering one and every later one are refused; `failure` says why."""

    async def scenario() -> None:
        write = GatedWrite()
        commits = make_accountant(write)
        running = commits.join()
        await until(lambda: write.begun == 1)
        gathering = commits.join()
        write.gates[0].set_exception(LedgerUnavailable("no space left on device"))
        for waiting in (running, gathering):
            with pytest.raises(LedgerUnavailable, match="no space left"):
                await waiting
        assert "no space left" in str(await commits.failure)
        with pytest.raises(LedgerUnavailable, match="no space left"):
            commits.join()
        assert write.begun == 1

    run(scenario)


def test_a_cancelled_request_does_not_cancel_the_commit_of_others() -> None:
    """One sender gives up: the shielded commit goes on and the other is told."""

    async def scenario() -> None:
        write = GatedWrite()
        commits = make_accountant(write)
        leaving = asyncio.ensure_future(commits.settle())
        staying = asyncio.ensure_future(commits.settle())
        await until(lambda: write.begun == 1)
        leaving.cancel()
        write.gates[0].set_result(None)
        await staying
        assert leaving.cancelled()

    run(scenario)


def test_where_some_wait_already_more_are_waited_for() -> None:
    """Who comes in the pause after a commit joins those who waited; without anybody waiting there is no pause."""

    async def scenario() -> None:
        write, pauses, is_over = GatedWrite(), [], asyncio.Event()

        async def pause() -> None:
            pauses.append(write.begun)
            await is_over.wait()

        commits = make_accountant(write, pause)
        first = commits.join()
        await until(lambda: write.begun == 1)
        write.gates[0].set_result(None)
        await first
        await until(lambda: commits._loop_task is None)
        assert not pauses
        commits.join()
        await until(lambda: write.begun == 2)
        waiting = commits.join()
        write.gates[1].set_result(None)
        await until(lambda: bool(pauses))
        assert commits.join() is waiting
        is_over.set()
        await until(lambda: write.begun == 3)
        alone = asyncio.ensure_future(commits.account(bytes([0x0A, 0])))
        await asyncio.sleep(0)
        write.gates[2].set_result(None)
        await waiting
        await until(lambda: write.begun == 4)
        assert pauses == [2, 3]
        write.gates[3].set_result(None)
        assert await alone == Receipt()

    run(scenario)


def test_while_a_write_takes_long_nobody_joins(caplog: pytest.LogCaptureFixture) -> None:
    """New requests are refused and gather nothing; `settle` waits on for all that was counted."""

    async def scenario() -> None:
        write = GatedWrite()
        commits = make_accountant(write, answer_within_s=0)
        running = commits.join()
        await until(lambda: write.begun == 1)
        await until(lambda: commits.is_stalled)
        with pytest.raises(Overloaded, match="took more than"):
            await running
        assert not commits._is_committing, "nothing is worth waiting for"
        with pytest.raises(Overloaded, match="took more than"):
            commits.join()
        assert commits._gathering is None
        settling = asyncio.ensure_future(commits.settle())
        write.gates[0].set_result(None)
        await until(lambda: write.begun == 2)
        assert not settling.done()
        write.gates[1].set_result(None)
        await settling
        commits.join()
        await until(lambda: write.begun == 3)

    with caplog.at_level(logging.INFO, "otel_sla.counting.accountant"):
        run(scenario)
    assert [record.action for record in caplog.records][:2] == ["ledger_stalled", "ledger_not_stalled"]


def test_who_joins_after_a_stall_is_not_late() -> None:
    """What `settle` gathers while a write takes long is answered; those who join it then have their own answer."""

    async def scenario() -> None:
        joined: list[asyncio.Future[None]] = []

        async def join() -> None:
            joined.append(commits.join())

        write = GatedWrite()
        commits = make_accountant(write, join, answer_within_s=0)
        commits.join()
        await until(lambda: commits.is_stalled)
        settling = asyncio.ensure_future(commits.settle())
        await until(lambda: commits._gathering is not None and commits._gathering.answer.done())
        commits.answer_within_s = 3600.0
        write.gates[0].set_result(None)
        await until(lambda: write.begun == 2)
        assert [answer.done() for answer in joined] == [False]
        write.gates[1].set_result(None)
        await settling
        await joined[0]

    run(scenario)


def test_a_write_that_took_long_and_failed_is_not_told_to_be_over(caplog: pytest.LogCaptureFixture) -> None:
    """The log must not say that all is well just before it says why the pipeline ends."""

    async def scenario() -> None:
        write = GatedWrite()
        commits = make_accountant(write, answer_within_s=0)
        commits.join()
        await until(lambda: write.begun == 1)
        await until(lambda: commits.is_stalled)
        write.gates[0].set_exception(LedgerUnavailable("no space left on device"))
        await commits.failure
        assert not commits.is_stalled

    with caplog.at_level(logging.INFO, "otel_sla.counting.accountant"):
        run(scenario)
    assert [record.action for record in caplog.records] == ["ledger_stalled"]


def test_where_enough_has_gathered_nobody_joins() -> None:
    """As long as it is full new requests are refused; `settle` does not care."""

    async def scenario() -> None:
        write = GatedWrite()
        counts = FakeCounts(write)
        counts.is_full = True
        commits = Accountant(counts, SelfMetrics(lambda: 0), pause=at_once)
        with pytest.raises(Overloaded, match="as much waits"):
            commits.join()
        assert not commits._is_committing
        settling = asyncio.ensure_future(commits.settle())
        await until(lambda: write.begun == 1)
        write.gates[0].set_result(None)
        await settling
        counts.is_full = False
        commits.join()

    run(scenario)
