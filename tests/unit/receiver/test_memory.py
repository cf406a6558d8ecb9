import asyncio

import pytest
from receiver_parts import FakeAccountant, run_on, until

from otel_sla.counting.receipt import Receipt
from otel_sla.errors import Overloaded, RequestTooLarge
from otel_sla.receiver.limits.memory import InFlight, Intake

NEVER_S = 3600.0  # Never reached.


def test_more_than_the_limit_is_refused_and_changes_nothing() -> None:
    """A hold or a growth over the limit raises and is counted; what was held before stays held."""
    in_flight = InFlight(10)
    with in_flight.hold(6) as held:
        with pytest.raises(Overloaded, match=r"11 bytes.* limit of 10"):
            in_flight.hold(5)
        with in_flight.hold(2), pytest.raises(Overloaded):
            held.resize(9)
        held.resize(10)
        assert in_flight.size_bytes == 10
    assert in_flight.size_bytes == 0
    assert in_flight.refused_count == 2


def test_what_can_never_fit_is_too_large() -> None:
    """More than the whole limit is no overload: a repeat would not help."""
    in_flight = InFlight(10)
    with pytest.raises(RequestTooLarge, match="11 bytes"):
        in_flight.hold(11)
    assert in_flight.size_bytes == 0


def test_a_share_leaves_room_for_others() -> None:
    """Requests that share may take half together, or one of them more; the rest is left to the others."""
    in_flight = InFlight(10)
    greedy = in_flight.new_share("greedy ones")
    with in_flight.hold(3, greedy):
        with pytest.raises(Overloaded, match="greedy ones would hold 6 bytes, more than the limit of 5"):
            in_flight.hold(3, greedy)
        in_flight.hold(3, in_flight.new_share("others")).release()
        in_flight.hold(7).release()
        assert greedy.size_bytes == 3
    with in_flight.hold(9, greedy) as alone:
        moved = alone.move()
    assert greedy.size_bytes == 9
    moved.release()
    assert greedy.size_bytes == in_flight.size_bytes == 0


def test_requests_in_the_same_state_share() -> None:
    """What becomes slow holds its size of the slow ones' half; without room there it stays as it was."""
    in_flight = InFlight(10)
    slow = in_flight.slow
    with in_flight.hold(1) as first, in_flight.hold(1) as second:
        first.join(slow, 4)
        with pytest.raises(Overloaded, match="slow requests would hold 6 bytes, more than the limit of 5"):
            second.join(slow, 2)
        assert (in_flight.size_bytes, slow.size_bytes) == (5, 4)
        first.resize(3)
        second.join(slow, 2)
        assert (in_flight.size_bytes, slow.size_bytes) == (5, 5)
        second.join(slow, 1)
        assert (in_flight.size_bytes, slow.size_bytes) == (4, 4)
    assert (in_flight.size_bytes, slow.size_bytes) == (0, 0)
    assert in_flight.refused_count == 1


def test_a_request_is_in_one_state_at_a_time() -> None:
    """From waiting to late, slow and neither each share has what is its own; a refused change changes nothing."""
    in_flight = InFlight(64)
    waiting, late, slow = in_flight.waiting, in_flight.late, in_flight.slow
    with in_flight.hold(0) as held, in_flight.hold(20):
        held.join(waiting, 2)
        assert (waiting.size_bytes, held.size_bytes) == (2, 2)
        held.join(late, 4)
        assert (waiting.size_bytes, late.size_bytes) == (0, 4)
        with pytest.raises(Overloaded, match="requests in flight would hold 65 bytes"):
            held.join(slow, 45)
        assert (late.size_bytes, slow.size_bytes, held.size_bytes) == (4, 0, 4)
        assert held.has_room(44, slow)
        assert not held.has_room(45, slow)
        held.join(slow, 40)
        assert (late.size_bytes, slow.size_bytes) == (0, 40)
        moved = held.move()
        assert (held.size_bytes, slow.size_bytes) == (0, 40)
        moved.join(None, 41)
        assert (slow.size_bytes, in_flight.size_bytes) == (0, 61)
        moved.release()
    assert in_flight.size_bytes == 0


def test_leaving_a_share_makes_room_for_others() -> None:
    """One waits for room in a share; it has it as soon as another one leaves the share, though that holds more then."""

    async def main() -> None:
        in_flight = InFlight(64)
        with in_flight.hold(0) as leaving, in_flight.hold(0) as coming:
            leaving.join(in_flight.late, 8)
            waiting = asyncio.create_task(coming.wait_for_room(8, in_flight.late))
            await asyncio.sleep(0)
            assert not waiting.done()
            leaving.join(in_flight.slow, 16)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert waiting.done()
            assert in_flight.late.size_bytes == 8

    run_on("asyncio", main())


def test_less_is_never_refused() -> None:
    """Giving some back works at the limit too."""
    in_flight = InFlight(10)
    with in_flight.hold(10) as held:
        held.resize(3)
        assert in_flight.size_bytes == 3


def test_a_moved_hold_outlives_the_one_it_came_from() -> None:
    """After `move`, only the new owner's release gives the bytes back."""
    in_flight = InFlight(10)
    with in_flight.hold(4) as held:
        moved = held.move()
    assert in_flight.size_bytes == 4
    moved.release()
    moved.release()
    assert in_flight.size_bytes == 0


def test_accounting_goes_on_without_its_caller() -> None:
    """Accounting whose caller was cancelled runs to its end, and gives its bytes back then, also when it fails."""

    async def main() -> None:
        in_flight = InFlight(10)
        accountant = FakeAccountant(Receipt(), ValueError("nobody is there to be told"))
        accountant.gate.clear()
        intake = Intake(accountant)
        callers = [asyncio.ensure_future(intake.take(b"x", in_flight.hold(4))) for _ in range(2)]
        await accountant.arrived.wait()
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        assert in_flight.size_bytes == 8
        accountant.gate.set()
        await until(lambda: in_flight.size_bytes == 0)
        assert accountant.finished == 2

    run_on("asyncio", main())


def test_no_accounting_outlives_the_close() -> None:
    """What nobody waits for is finished if that is quick, else ended, before the ledger is closed."""

    async def main() -> None:
        in_flight = InFlight(10)
        accountant = FakeAccountant()
        accountant.gate.clear()
        intake = Intake(accountant)
        for is_quick in (True, False):
            caller = asyncio.ensure_future(intake.take(b"x", in_flight.hold(4)))
            await accountant.arrived.wait()
            caller.cancel()
            await asyncio.wait([caller])
            if is_quick:
                asyncio.get_running_loop().call_soon(accountant.gate.set)
                await intake.close(NEVER_S)
                accountant.gate.clear()
                accountant.arrived.clear()
            else:
                await intake.close(0)
            assert (in_flight.size_bytes, accountant.finished) == (0, 1)

    run_on("asyncio", main())
