"""The gRPC server with real clients, on a free port."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from receiver_parts import FakeAccountant, Run, until

from otel_sla.counting.receipt import Receipt
from otel_sla.errors import (
    DecodeError,
    LedgerCorrupt,
    LedgerUnavailable,
    ListenError,
    Overloaded,
    RequestTooLarge,
)
from otel_sla.receiver.grpc.health import Health
from otel_sla.receiver.grpc.server import TRACE_SERVICE, GrpcServer
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.settings import GrpcServerSettings

EXPORT = f"/{TRACE_SERVICE}/Export"
MIB = 1024 * 1024
BODY = b"\x0a\x00"  # One empty ResourceSpans; the fake accountant does not mind.


class Served:
    """A running server, its parts, and a channel to it."""

    def __init__(self, server: GrpcServer, port: int, in_flight: InFlight, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.port = port
        self.in_flight = in_flight
        self.channel = channel

    async def export(self, body: bytes, **options: object) -> bytes:
        """Send as every OTLP client does."""
        return await self.channel.unary_unary(EXPORT)(body, **options)

    async def refused(self, body: bytes = BODY, **options: object) -> grpc.aio.AioRpcError:
        """Send, expect a refusal and return it."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.export(body, **options)
        return caught.value


@asynccontextmanager
async def served(
    accountant: FakeAccountant, *, in_flight: InFlight | None = None, health: Health | None = None, **settings: object
) -> AsyncIterator[Served]:
    """Serve for the time of a test."""
    in_flight = in_flight or InFlight(256 * MIB)
    server = GrpcServer(
        GrpcServerSettings(**{"endpoint": "127.0.0.1:0", **settings}), accountant, in_flight, Refusals(), health
    )
    port = await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(server, port, in_flight, channel)
    finally:
        await server.stop(0)


def can_connect(port: int) -> bool:
    """Tell whether anybody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_refused_calls_are_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever's spans are refused for good is in the log: one warning for each reason, none for a retryable answer."""

    async def main() -> None:
        wrong = DecodeError("a tag that is none", 0)
        async with served(FakeAccountant(wrong, Overloaded("full"), wrong, RequestTooLarge("large"))) as it:
            for _ in range(4):
                await it.refused()

    caplog.clear()
    run(main())
    warnings = [record for record in caplog.records if vars(record).get("action") == "requests_refused"]
    assert [vars(each)["reason"] for each in warnings] == ["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"]
    assert vars(warnings[0])["user_agent"].startswith("grpc-python-asyncio/")


def test_full_success_is_an_empty_response(run: Run) -> None:
    """A counted request is answered with OK and no partial_success; the accountant got the very bytes."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            assert await it.export(BODY) == b""
            assert await it.export(b"") == b""
            assert accountant.bodies == [BODY, b""]
            assert it.server.answers == {"OK": 2}
            assert it.in_flight.size_bytes == 0

    run(main())


def test_partial_success_says_how_many_and_why(run: Run) -> None:
    """Rejected spans are in partial_success, under OK."""

    async def main() -> None:
        async with served(FakeAccountant(Receipt(3, "3 ended too long ago"))) as it:
            response = ExportTraceServiceResponse.FromString(await it.export(BODY))
            assert response.partial_success.rejected_spans == 3
            assert response.partial_success.error_message == "3 ended too long ago"

    run(main())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DecodeError("a length past its parent", 7), grpc.StatusCode.INVALID_ARGUMENT),
        (RequestTooLarge("the columns would take 1 GiB"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (ZeroDivisionError("a mistake of ours"), grpc.StatusCode.INTERNAL),
    ],
)
def test_what_must_not_be_repeated_has_no_retry_info(run: Run, error: Exception, code: grpc.StatusCode) -> None:
    """Errors that a repeat would meet again are answered with codes that no sender repeats, without RetryInfo."""

    async def main() -> None:
        async with served(FakeAccountant(error)) as it:
            refusal = await it.refused()
            assert refusal.code() is code
            trailers = dict(refusal.trailing_metadata())
            assert "grpc-status-details-bin" not in trailers
            assert "google.rpc.retryinfo-bin" not in trailers
            assert await it.export(BODY) == b""

    run(main())


@pytest.mark.parametrize(
    "error", [Overloaded("full"), LedgerUnavailable("/secret/path is full"), LedgerCorrupt("/secret/path is corrupt")]
)
def test_what_may_pass_is_unavailable_with_retry_info_in_both_trailers(run: Run, error: Exception) -> None:
    """Overload and ledger faults are UNAVAILABLE with a delay <= 2 s, where each kind of sender looks for it."""

    async def main() -> None:
        async with served(FakeAccountant(error)) as it:
            refusal = await it.refused()
            assert refusal.code() is grpc.StatusCode.UNAVAILABLE
            assert "secret" not in refusal.details()
            trailers = dict(refusal.trailing_metadata())
            status = Status.FromString(trailers["grpc-status-details-bin"])
            assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
            detail = RetryInfo()
            assert status.details[0].Unpack(detail)
            assert detail == RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"])
            assert 0 < detail.retry_delay.ToMilliseconds() <= 2000

    run(main())


def test_gzip_is_taken_and_a_bomb_is_not(run: Run) -> None:
    """Gzip within the limit is counted; what expands past the limit is RESOURCE_EXHAUSTED without RetryInfo."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant, max_recv_msg_size_mib=1) as it:
            assert await it.export(bytes(MIB), compression=grpc.Compression.Gzip) == b""
            refusal = await it.refused(bytes(MIB + 1), compression=grpc.Compression.Gzip)
            assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert not dict(refusal.trailing_metadata())
            assert [len(body) for body in accountant.bodies] == [MIB]

    run(main())


def test_oversized_is_resource_exhausted(run: Run) -> None:
    """A message over the limit is refused before the accountant sees it, for good."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant, max_recv_msg_size_mib=1) as it:
            refusal = await it.refused(bytes(MIB + 1))
            assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert not dict(refusal.trailing_metadata())
            assert accountant.bodies == []

    run(main())


def test_a_second_message_is_refused(run: Run) -> None:
    """A stream of two messages is not OTLP: neither is counted, so that none is acknowledged unseen."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await it.channel.stream_unary(EXPORT)(iter([BODY, BODY]))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await it.channel.stream_unary(EXPORT)(iter([]))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert accountant.bodies == []

    run(main())


def test_a_body_that_does_not_come_is_given_up(run: Run) -> None:
    """A sender that opens a call and sends nothing gets DEADLINE_EXCEEDED and holds no bytes afterwards."""

    async def main() -> None:
        async with served(FakeAccountant(), body_timeout_s=0.05) as it:
            call = it.channel.stream_unary(EXPORT)()
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert it.in_flight.size_bytes == 0

    run(main())


def test_a_slow_body_yields_to_others_under_memory_pressure(run: Run) -> None:
    """A body that keeps coming must hold the largest size; without room the answer is retryable."""

    async def main() -> None:
        async with served(
            FakeAccountant(), max_recv_msg_size_mib=2, in_flight=InFlight(2 * MIB, slow_after_s=0.05)
        ) as it:
            with it.in_flight.hold(MIB + 1):
                call = it.channel.stream_unary(EXPORT)()
                assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert it.in_flight.size_bytes == 0

    run(main())


def test_a_slow_body_is_read_where_there_is_room(run: Run) -> None:
    """A slow body is still counted if its largest size fits in memory."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant, max_recv_msg_size_mib=2, in_flight=InFlight(4 * MIB, slow_after_s=0.01)) as it:
            call = it.channel.stream_unary(EXPORT)()
            await until(lambda: it.in_flight.size_bytes == 2 * MIB)
            await call.write(BODY)
            await call.done_writing()
            assert await call == b""
            assert accountant.bodies == [BODY]

    run(main())


def test_many_slow_senders_do_not_keep_a_good_one_out(run: Run) -> None:
    """While two hundred calls stall in their bodies, others are answered, and little memory is set aside."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            calls = [it.channel.stream_unary(EXPORT)() for _ in range(200)]
            await until(lambda: it.in_flight.size_bytes > 64 * 1024)  # One late, one that may become large.
            options = [("grpc.use_local_subchannel_pool", 1)]  # Else the channels share one connection.
            async with grpc.aio.insecure_channel(f"127.0.0.1:{it.port}", options=options) as other:
                for _ in range(10):
                    assert await other.unary_unary(EXPORT)(BODY) == b""
            assert len(accountant.bodies) == 10
            for call in calls:
                call.cancel()
            await until(lambda: it.in_flight.size_bytes == 0)

    run(main())


@pytest.mark.parametrize("is_known", [False, True])
def test_late_bodies_of_many_connections_are_bounded(is_known: bool, run: Run) -> None:  # noqa: FBT001
    """Of twelve that may become 2 MiB each only those are read on that have room for it; the others come again."""
    kept_max = 3 if is_known else 1  # An eighth of 2 MiB is late, half of it slow: one alone may hold more.

    async def main() -> None:
        async with (
            served(
                FakeAccountant(),
                max_recv_msg_size_mib=2,
                in_flight=InFlight(2 * MIB, slow_after_s=1e6, room_wait_s=0.3),
            ) as it,
            AsyncExitStack() as stack,
            asyncio.timeout(60),
        ):
            calls = []
            for _ in range(12):
                options = [("grpc.use_local_subchannel_pool", 1)]  # Else the channels share one connection.
                channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{it.port}", options))
                if is_known:
                    assert await channel.unary_unary(EXPORT)(BODY) == b""
                calls.append(channel.stream_unary(EXPORT)())
            codes = [asyncio.ensure_future(call.code()) for call in calls]
            await until(lambda: sum(code.done() for code in codes) >= 12 - kept_max)
            assert {code.result() for code in codes if code.done()} == {grpc.StatusCode.UNAVAILABLE}
            assert it.in_flight.slow.size_bytes == MIB
            for code, call in zip(codes, calls, strict=True):
                call.cancel()
                await code
            await until(lambda: it.in_flight.size_bytes == 0)

    run(main())


def test_calls_that_wait_to_be_read_are_bounded(run: Run) -> None:
    """Of a hundred calls of one connection that stall a few wait for a while; the answer to the others is retryable."""

    async def main() -> None:
        async with served(FakeAccountant(), in_flight=InFlight(2 * MIB), body_timeout_s=0.2) as it, asyncio.timeout(60):
            calls = [it.channel.stream_unary(EXPORT)() for _ in range(100)]
            codes = Counter([await call.code() for call in calls])
            assert set(codes) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
            assert codes[grpc.StatusCode.UNAVAILABLE] > 100 - 2 * 4  # Four wait, and each may be the one that is read.
            for call in calls:
                if await call.code() is grpc.StatusCode.UNAVAILABLE:
                    assert "google.rpc.retryinfo-bin" in dict(await call.trailing_metadata())
            assert it.in_flight.size_bytes == 0
            assert await it.export(BODY) == b""

    run(main())


def test_bytes_in_flight_are_bounded(run: Run) -> None:
    """While requests wait for their commit up to the limit, a further one is UNAVAILABLE; afterwards it is taken."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant, in_flight=InFlight(MIB, room_wait_s=0.05)) as it:
            waiting = asyncio.ensure_future(it.export(bytes(MIB - 1024)))
            await accountant.arrived.wait()
            assert it.in_flight.size_bytes == MIB - 1024
            refusal = await it.refused(bytes(2048))
            assert refusal.code() is grpc.StatusCode.UNAVAILABLE
            assert "google.rpc.retryinfo-bin" in dict(refusal.trailing_metadata())
            accountant.gate.set()
            assert await waiting == b""
            assert it.in_flight.size_bytes == 0
            assert it.in_flight.refused_count == 1
            assert await it.export(bytes(2048)) == b""

    run(main())


def test_a_client_that_gives_up_does_not_stop_the_accounting(run: Run) -> None:
    """Cancelled by the client while the commit runs: the accounting goes to its end, its bytes are held until then."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            call = it.channel.unary_unary(EXPORT)(BODY)
            await accountant.arrived.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert it.in_flight.size_bytes == len(BODY)
            accountant.gate.set()
            await until(lambda: it.in_flight.size_bytes == 0)
            assert accountant.finished == 1

    run(main())


def test_stop_lets_what_is_under_way_finish(run: Run) -> None:
    """A stop with grace takes no new connection and still answers the one that waits for its commit."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            waiting = asyncio.ensure_future(it.export(BODY))
            await accountant.arrived.wait()
            stopping = asyncio.ensure_future(it.server.stop(30))
            await until(lambda: not can_connect(it.port))
            assert not stopping.done()
            accountant.gate.set()
            assert await waiting == b""
            await stopping

    run(main())


def test_health_follows_the_pipeline(run: Run) -> None:
    """grpc.health.v1 says NOT_SERVING until told otherwise, for the server and for the trace service."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            stub = health_pb2_grpc.HealthStub(it.channel)
            serving = health_pb2.HealthCheckResponse
            for name in ("", TRACE_SERVICE):
                check = health_pb2.HealthCheckRequest(service=name)
                assert (await stub.Check(check)).status == serving.NOT_SERVING
                it.server.set_serving(is_serving=True)
                assert (await stub.Check(check)).status == serving.SERVING
                it.server.set_serving(is_serving=False)
                assert (await stub.Check(check)).status == serving.NOT_SERVING

    run(main())


def test_health_is_answered_without_waiting_for_the_question(run: Run) -> None:
    """Questions that are late, too long or none are answered for the server; an unknown service is NOT_FOUND."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            it.server.set_serving(is_serving=True)
            check = it.channel.stream_unary("/grpc.health.v1.Health/Check")
            never = asyncio.Event()

            async def stalling() -> AsyncIterator[bytes]:
                await never.wait()
                yield b""

            calls = [check(stalling()) for _ in range(3)]
            calls += [check(iter([body])) for body in (bytes(MIB), b"\xff", b"\x0a\x00")]
            serving = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
            assert await asyncio.gather(*calls) == [serving.SerializeToString()] * len(calls)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await check(iter([b"\x0a\x01x"]))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    run(main())


def test_nobody_watches_without_a_short_question(run: Run) -> None:
    """A `Watch` whose question does not come or end, is long or doubled is ended: else gRPC would go on taking it."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            it.server.set_serving(is_serving=True)
            watch = it.channel.stream_stream("/grpc.health.v1.Health/Watch")
            never = asyncio.Event()

            async def stalling(*questions: bytes) -> AsyncIterator[bytes]:
                for question in questions:
                    yield question
                await never.wait()

            calls = [watch(stalling()), watch(stalling(b"")), watch(iter([bytes(MIB)])), watch(iter([b"", b""]))]
            for call in calls:
                assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            good = watch(iter([b""]))
            serving = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
            assert await good.read() == serving.SerializeToString()

    run(main())


async def _first_of(call: grpc.aio.UnaryStreamCall[Any, Any]) -> Any:  # noqa: ANN401 - what the stub gives.
    try:
        return await call.read()
    except grpc.aio.AioRpcError:
        return None


def test_watchers_of_the_health_are_bounded(run: Run) -> None:
    """One more than may watch is RESOURCE_EXHAUSTED; when one of them ends another may, and `Check` always may."""

    async def main() -> None:
        async with served(FakeAccountant(), health=Health(TRACE_SERVICE, watching_max=2)) as it:
            stub = health_pb2_grpc.HealthStub(it.channel)
            question = health_pb2.HealthCheckRequest()
            watching = [stub.Watch(question) for _ in range(2)]
            for call in watching:
                await call.read()
            assert await stub.Watch(question).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (await stub.Check(question)).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watching[0].cancel()
            while (told := await _first_of(stub.Watch(question))) is None:
                pass
            assert told.status == health_pb2.HealthCheckResponse.NOT_SERVING

    run(main())


def test_questions_that_wait_to_be_read_are_bounded(run: Run) -> None:
    """Beyond as many as may wait, `Check` is answered for the server and `Watch` is ended, without their question."""

    async def main() -> None:
        async with served(FakeAccountant(), health=Health(TRACE_SERVICE, asking_max=0)) as it:
            stub = health_pb2_grpc.HealthStub(it.channel)
            question = health_pb2.HealthCheckRequest(service="another")
            assert (await stub.Check(question)).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await stub.Watch(question).code() is grpc.StatusCode.DEADLINE_EXCEEDED

    run(main())


def test_watchers_of_the_health_do_not_delay_a_stop(run: Run) -> None:
    """Each stream of `Watch` gets NOT_SERVING, then ends, long before the grace does; unknown services likewise."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            it.server.set_serving(is_serving=True)
            stub = health_pb2_grpc.HealthStub(it.channel)
            seen: dict[str, list[int]] = {"": [], TRACE_SERVICE: [], "another": []}

            async def watch(name: str) -> None:
                async for answer in stub.Watch(health_pb2.HealthCheckRequest(service=name)):
                    seen[name].append(answer.status)

            watching = []
            for name, told in seen.items():
                watching.append(asyncio.ensure_future(watch(name)))
                await until(lambda told=told: told)
            async with asyncio.timeout(20):
                await it.server.stop(1000)
                await asyncio.gather(*watching)
            serving = health_pb2.HealthCheckResponse
            expected = [serving.SERVING, serving.NOT_SERVING]
            assert seen == {"": expected, TRACE_SERVICE: expected, "another": [serving.SERVICE_UNKNOWN]}

    run(main())


def test_a_watcher_that_does_not_read_delays_nothing(run: Run) -> None:
    """A client of `Watch` without room for an answer: others get each state, and the stop ends with its grace."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
            client.initiate_connection()
            client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
            fields = {":method": "POST", ":scheme": "http", ":path": "/grpc.health.v1.Health/Watch", ":authority": "x"}
            client.send_headers(1, [*fields.items(), ("te", "trailers"), ("content-type", "application/grpc")])
            client.send_data(1, bytes(5), end_stream=True)
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(client.data_to_send())
            while not any(
                isinstance(event, h2.events.ResponseReceived) for event in client.receive_data(await reader.read(9999))
            ):
                pass
            async with asyncio.timeout(20):
                it.server.set_serving(is_serving=True)
                check = await health_pb2_grpc.HealthStub(it.channel).Check(health_pb2.HealthCheckRequest())
                assert check.status == health_pb2.HealthCheckResponse.SERVING
                await it.server.stop(0.05)
            writer.close()

    run(main())


def test_connections_are_bounded(run: Run) -> None:
    """A connection over the limit is not served, those within it are."""

    async def main() -> None:
        async with served(FakeAccountant(), connections_max=1) as it:
            assert await it.export(BODY) == b""
            options = [("grpc.use_local_subchannel_pool", 1)]  # Else the channels share one connection.
            async with grpc.aio.insecure_channel(f"127.0.0.1:{it.port}", options) as other:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await other.unary_unary(EXPORT)(BODY)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await it.export(BODY) == b""

    run(main())


def test_a_port_in_use_is_one_clear_error(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    """A second server on the same port is a ListenError that names endpoint and reason; nothing else is printed."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            endpoint = f"127.0.0.1:{it.port}"
            second = GrpcServer(GrpcServerSettings(endpoint=endpoint), FakeAccountant(), InFlight(MIB), Refusals())
            with pytest.raises(ListenError) as caught:
                await second.start()
            assert str(caught.value) == f"cannot listen on {endpoint} (gRPC): Address already in use"

    run(main())
    assert capfd.readouterr().err == ""


def test_localhost_is_served_on_each_of_its_addresses(run: Run) -> None:
    """`localhost` with port 0 serves one port on every address of that name that this machine has."""

    async def main() -> None:
        async with served(FakeAccountant(), endpoint="localhost:0") as it:
            for family, _, _, _, address in socket.getaddrinfo("localhost", it.port, type=socket.SOCK_STREAM):
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.connect(address)

    run(main())


def test_the_sdk_sends_unchanged_and_repeats_on_unavailable(run: Run) -> None:
    """The Python SDK's exporter, with gzip: its spans arrive, and after UNAVAILABLE it sends the same bytes again."""

    async def main() -> None:
        accountant = FakeAccountant(Overloaded("full"))
        async with served(accountant) as it:

            def send() -> bool:
                exporter = OTLPSpanExporter(
                    endpoint=f"127.0.0.1:{it.port}", insecure=True, compression=grpc.Compression.Gzip
                )
                provider = TracerProvider(shutdown_on_exit=False)
                provider.add_span_processor(BatchSpanProcessor(exporter))
                with provider.get_tracer("t").start_as_current_span("GET /"):
                    pass
                is_sent = provider.force_flush()
                provider.shutdown()
                return is_sent

            assert await asyncio.to_thread(send)
            first, second = accountant.bodies
            assert first == second
            assert ExportTraceServiceRequest.FromString(first).resource_spans[0].scope_spans[0].spans[0].name == "GET /"
            assert it.server.answers == {"UNAVAILABLE": 1, "OK": 1}

    run(main())


def test_nothing_is_accounted_behind_a_stop_over_grpc(run: Run) -> None:
    """What is not accounted for at the end of the grace is ended: no ledger is closed under it."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            call = it.channel.unary_unary(EXPORT)(BODY)
            await accountant.arrived.wait()
            await it.server.stop(0)
            assert it.in_flight.size_bytes == 0
            assert await call.code() is not grpc.StatusCode.OK
            assert accountant.finished == 0

    run(main())
