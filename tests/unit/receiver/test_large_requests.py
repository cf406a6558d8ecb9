"""Large requests leave time to small ones of others, and to nobody else."""

import asyncio

import pytest
from receiver_parts import run_on, until

from otel_sla.errors import Overloaded
from otel_sla.receiver.grpc.connections import READ_SIZE_BYTES_MIN, GrpcConnections
from otel_sla.receiver.limits.large_requests import LargeRequests
from otel_sla.receiver.limits.memory import InFlight

MIB = 1 << 20
QUICK_S = 0.02  # Nothing was waited for.
WAIT_S = 60.0  # More than any test takes.


async def _time_of_next(large_requests: LargeRequests, owner: str) -> float:
    """How long a second large request has to wait after one of "large", in seconds."""
    started_s = asyncio.get_running_loop().time()
    (await large_requests.wait(owner, 4 * MIB)).end()
    return asyncio.get_running_loop().time() - started_s


def test_a_large_request_leaves_time_to_small_ones_of_others() -> None:
    """While another's small request is under way the next large one waits a multiple of its cost; alone it does not."""

    async def main() -> None:
        large_requests = LargeRequests()
        (await large_requests.wait("large", 4 * MIB)).end()
        assert await _time_of_next(large_requests, "large") < QUICK_S
        large_requests.begin_small("large")
        assert await _time_of_next(large_requests, "large") < QUICK_S
        large_requests.begin_small("small")
        assert await _time_of_next(large_requests, "large") > 2 * QUICK_S
        large_requests.end_small()
        large_requests.end_small()

    run_on("asyncio", main())


def test_some_large_requests_are_under_way_at_once() -> None:
    """One more begins when one of them has ended, or is held up by its sender."""

    async def main() -> None:
        large_requests = LargeRequests(started_max=4)
        first, *others = [await large_requests.wait("a", MIB) for _ in range(4)]
        one_more = asyncio.create_task(large_requests.wait("b", MIB))
        await asyncio.sleep(0)
        assert not one_more.done()
        first.end()
        (await one_more).end()
        others[0].end()
        one_more = asyncio.create_task(large_requests.wait("b", MIB))
        (await one_more).end()

    run_on("asyncio", main())


def test_no_large_request_waits_for_its_turn_for_ever() -> None:
    """Behind those that never end another begins all the same; afterwards there are as many turns as before."""

    async def main() -> None:
        large_requests = LargeRequests(started_max=2, quick_s=1e6, wait_s_max=0.05)
        started = [await large_requests.wait("stalled", MIB) for _ in range(2)]
        (await large_requests.wait("good", MIB)).end()
        for one in started:
            one.end()
            one.end()
        started = [await large_requests.wait("good", MIB) for _ in range(2)]
        one_more = asyncio.create_task(large_requests.wait("good", MIB))
        await asyncio.sleep(0)
        assert not one_more.done()
        started[0].end()
        (await one_more).end()

    run_on("asyncio", main())


def test_a_connection_shows_first_how_large_its_bodies_are() -> None:
    """One body of a new connection is read; then as many at once as fit in its share. What is late makes room."""

    async def main() -> None:
        in_flight = InFlight(128 * MIB)
        connection = GrpcConnections(in_flight, 128 * MIB, 4, WAIT_S).of("peer")
        first = await connection.begin()
        assert in_flight.size_bytes == 24 * MIB
        others = [asyncio.create_task(connection.begin()) for _ in range(3)]
        await asyncio.sleep(0)
        assert in_flight.size_bytes == 24 * MIB + 3 * READ_SIZE_BYTES_MIN
        with first:
            first.end(24 * MIB)
            await until(others[0].done)
        await until(others[1].done)
        assert not others[2].done()
        assert in_flight.size_bytes == 48 * MIB + READ_SIZE_BYTES_MIN
        others[1].result().end(8 * MIB)
        late = others[0].result()
        assert late.be_late()
        assert late.held.size_bytes == in_flight.late.size_bytes == 45 * MIB  # Twice 15/16 of the largest before.
        for other in others:
            with await other:
                pass
        assert in_flight.size_bytes == 0
        assert connection.is_idle

    run_on("asyncio", main())


def test_a_late_body_holds_what_it_may_become() -> None:
    """A new connection's has to be slow at once; known ones hold a part of the largest size each, or are slow too."""

    async def main() -> None:
        in_flight = InFlight(64 * MIB)
        connections = GrpcConnections(in_flight, 64 * MIB, 4, WAIT_S)
        with await connections.of("new").begin() as new:
            assert not new.be_late()
        with await connections.of("known").begin() as first:
            first.end(100)
        readings = [await connections.of("known").begin() for _ in range(3)]
        assert in_flight.size_bytes == 3 * READ_SIZE_BYTES_MIN
        assert [reading.be_late() for reading in readings] == [True, True, False]
        assert in_flight.late.size_bytes == 8 * MIB
        for reading in readings:
            with reading:
                pass
        assert in_flight.size_bytes == in_flight.late.size_bytes == 0

    run_on("asyncio", main())


def test_first_bodies_take_turns_where_they_may_become_more_than_they_hold() -> None:
    """With a limit as small as the largest message one new connection is read at a time, with room for it several."""

    async def main() -> None:
        for limit_mib, count in ((64, 1), (512, 4)):
            connections = GrpcConnections(InFlight(limit_mib * MIB), 64 * MIB, 9, WAIT_S)
            beginning = [asyncio.create_task(connections.of(f"{number}").begin()) for number in range(6)]
            for _ in range(9):
                await asyncio.sleep(0)
            assert sum(task.done() for task in beginning) == count
            for task in beginning:
                with await task:
                    pass

    run_on("asyncio", main())


def test_waiting_has_an_end_and_a_limit() -> None:
    """Calls in the queue hold 64 KiB each of an eighth of the limit; one that waits too long is refused."""

    async def main() -> None:
        in_flight = InFlight(MIB)
        connection = GrpcConnections(in_flight, MIB, 4, 0.02).of("peer")
        first = await connection.begin()
        waiting = [asyncio.create_task(connection.begin()) for _ in range(2)]
        await asyncio.sleep(0)
        assert in_flight.waiting.size_bytes == MIB // 8
        with pytest.raises(Overloaded, match="requests that wait to be read"):
            await connection.begin()
        for task in waiting:
            with pytest.raises(Overloaded, match=r"waited 0\.02 s for others"):
                await task
        assert in_flight.waiting.size_bytes == 0
        assert in_flight.refused_count == 3
        with first:
            pass
        assert connection.is_idle
        with await connection.begin():  # And others are read as before.
            pass

    run_on("asyncio", main())


def test_waiting_for_room_is_counted_and_has_an_end() -> None:
    """A known connection's calls that find no room hold 64 KiB each meanwhile, and wait no longer than they may."""

    async def main() -> None:
        in_flight = InFlight(16 * MIB)
        connection = GrpcConnections(in_flight, 16 * MIB, 4, 0.02).of("peer")
        with await connection.begin() as first:
            first.end(2 * MIB)
        with in_flight.hold(15 * MIB):
            waiting = [asyncio.create_task(connection.begin()) for _ in range(2)]
            await until(lambda: in_flight.waiting.size_bytes == 2 * READ_SIZE_BYTES_MIN)
            for task in waiting:
                with pytest.raises(Overloaded, match="waited"):
                    await task
        assert in_flight.size_bytes == 0
        assert connection.is_idle

    run_on("asyncio", main())


def test_a_call_that_gives_up_waiting_leaves_its_place() -> None:
    """A call that is cancelled while it waits to be read, or just as its turn comes, leaves it to the next."""

    async def main() -> None:
        connection = GrpcConnections(InFlight(16 * MIB), MIB, 4, WAIT_S).of("peer")
        first = await connection.begin()
        waiting = [asyncio.create_task(connection.begin()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        with first:
            first.leave()
            waiting[1].cancel()
        with await waiting[2]:
            pass
        assert connection.is_idle

    run_on("asyncio", main())


def test_idle_connections_are_forgotten() -> None:
    """No more are kept than connections may be; one with something under way is not forgotten."""

    async def main() -> None:
        connections = GrpcConnections(InFlight(16 * MIB), MIB, 2, WAIT_S)
        busy = connections.of("a")
        with await busy.begin():
            for peer in "bcd":
                connections.of(peer)
            assert connections.of("a") is busy
            idle = connections.of("b")
            for peer in "cd":
                connections.of(peer)
            assert connections.of("b") is not idle

    run_on("asyncio", main())
