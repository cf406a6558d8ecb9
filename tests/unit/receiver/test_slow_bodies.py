import asyncio
import time

import pytest
from receiver_parts import LOOPS, run_on

from otel_sla.errors import Overloaded
from otel_sla.receiver.http.body import Body
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.limits.slow_bodies import BodyDeadline
from otel_sla.receiver.responses import BodyTimeout


async def stall(deadline: BodyDeadline) -> None:
    """Wait for a body that does not come."""
    async with deadline:
        deadline.start_patience()
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("loop", list(LOOPS))
def test_a_body_that_does_not_come_ends_in_time(loop: str) -> None:
    """Where there is room for a slow body it has until the time limit; where there is none, until it is slow."""

    async def main() -> None:
        in_flight = InFlight(10, slow_after_s=0.05)
        with in_flight.hold(1) as held:
            with pytest.raises(BodyTimeout):
                await stall(BodyDeadline(held, 0.01))
            with in_flight.hold(6), pytest.raises(Overloaded, match="11 bytes"):
                await stall(BodyDeadline(held, 30, slow_size_bytes=5))
        assert (in_flight.size_bytes, in_flight.slow.size_bytes) == (0, 0)

    run_on(loop, main())


class Pausing:
    """A connection on which a body arrives in pieces, after a pause each."""

    def __init__(self, *pieces: bytes) -> None:
        self.data = bytearray()
        self._pieces = list(pieces)

    async def more(self, wanted_bytes: int) -> None:  # noqa: ARG002 - of the protocol.
        """Pause, and let the next piece arrive."""
        for _ in range(5):
            await asyncio.sleep(0)
        self.data += self._pieces.pop(0)

    def send_continue(self) -> None:
        """Nobody keeps a body back here."""


@pytest.mark.parametrize("loop", list(LOOPS))
def test_a_pause_before_the_body_is_not_slow(loop: str) -> None:
    """Over HTTP a body becomes slow from its first byte on, whatever time was between that and the head."""

    async def main() -> None:
        in_flight = InFlight(10, slow_after_s=0)
        for pieces, slow_bytes in (((b"xx",), 0), ((b"x", b"x"), 2)):
            with in_flight.hold(0) as held:
                assert await Body(Pausing(*pieces), 2).read(held, 10, 30) == b"xx"
                assert in_flight.slow.size_bytes == slow_bytes

    run_on(loop, main())


@pytest.mark.parametrize("loop", list(LOOPS))
def test_a_body_that_waited_for_us_is_not_slow(loop: str) -> None:
    """While the event loop itself is held up, a body does not become slow."""

    async def main() -> None:
        in_flight = InFlight(10, slow_after_s=0.2)
        with in_flight.hold(1) as held:
            async with BodyDeadline(held, 30) as deadline:
                deadline.start_patience()
                started_s = time.monotonic()
                while time.monotonic() - started_s < 0.4:  # Nobody else runs.
                    pass
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert in_flight.slow.size_bytes == 0

    run_on(loop, main())
