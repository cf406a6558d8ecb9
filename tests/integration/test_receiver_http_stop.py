"""How requests over HTTP end early: a client leaves, the server stops, the port is another's."""

import asyncio
import socket

import pytest
from http_served import BODY, request_head, served
from receiver_parts import FakeAccountant, Run, until

from otel_sla.errors import (
    ListenError,
)


def test_a_client_that_gives_up_does_not_stop_the_accounting(run: Run) -> None:
    """Disconnected while the commit runs: the accounting goes to its end, its bytes are held until then."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            async with it.connected() as (_, writer):
                writer.write(request_head(content_length="2") + BODY)
                await accountant.arrived.wait()
            assert it.in_flight.size_bytes == 2
            accountant.gate.set()
            await until(lambda: it.in_flight.size_bytes == 0)
            assert accountant.finished == 1

    run(main())


def test_a_client_that_leaves_in_its_body_is_not_counted(run: Run) -> None:
    """A connection that ends within the body reaches no accountant and gives its bytes back."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            async with it.connected() as (_, writer):
                writer.write(request_head(content_length="1000000") + bytes(1000))
                await until(lambda: it.in_flight.size_bytes == 1000)
            await until(lambda: it.in_flight.size_bytes == 0)
            assert accountant.bodies == []
            assert it.server.app.answers == {}

    run(main())


def test_stop_lets_what_is_under_way_finish(run: Run) -> None:
    """A stop with grace takes no new connection and still answers the request that waits for its commit."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            waiting = asyncio.ensure_future(it.send())
            await accountant.arrived.wait()
            stopping = asyncio.ensure_future(it.server.stop(30))
            await until(lambda: not can_connect(it.port))
            assert not stopping.done()
            accountant.gate.set()
            assert (await waiting).status == 200
            await stopping

    run(main())


def test_when_the_grace_is_over_the_answer_is_retryable(run: Run) -> None:
    """A request that the end of the grace cuts off is answered 503, not with silence."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            waiting = asyncio.ensure_future(it.send())
            await accountant.arrived.wait()
            await it.server.stop(0)
            assert (await waiting).status == 503

    run(main())


def test_nothing_is_accounted_behind_a_stop_over_http(run: Run) -> None:
    """What is not accounted for at the end of the grace is ended: no ledger is closed under it."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            sending = asyncio.ensure_future(it.send())
            await accountant.arrived.wait()
            await it.server.stop(0)
            assert it.in_flight.size_bytes == 0
            assert (await sending).status == 503
            assert accountant.finished == 0

    run(main())


def can_connect(port: int) -> bool:
    """Tell whether anybody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_port_in_use_is_one_clear_error(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    """A second server on the same port is a ListenError with endpoint, reason and what to set; nothing is printed."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            endpoint = f"127.0.0.1:{it.port}"
            with pytest.raises(ListenError) as caught:
                async with served(FakeAccountant(), endpoint=endpoint):
                    pass
            assert str(caught.value) == f"cannot listen on {endpoint} (HTTP): Address already in use"
            assert "an OpenTelemetry Collector listens there already" in caught.value.hint
            assert "receivers.otlp.protocols.http.endpoint" in caught.value.hint
            assert "localhost:14418" in caught.value.hint  # Beside 14417, which is gRPC's.

    run(main())
    assert capfd.readouterr().err == ""
