"""`grpc.health.v1`: says whether requests are welcome; its streams end when the server stops.

Anybody may ask, without a token: so a question costs next to nothing, whatever its size. The library's servicer takes
whole messages, of all calls at once; and it writes to its watchers under the lock that a change of state needs, so
that one watcher who does not read held up the stop for ever.

Once gRPC is asked for a message it takes all of it, up to the limit of a request, also when the reader has given up:
until the call ends. So a call whose question was not read to its end must end.
"""

import asyncio

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

_SERVICE = "grpc.health.v1.Health"
_READ_S = 0.1  # Of the turn and the reading: a question comes with its call.
_SIZE_BYTES_MAX = 1024


class Health:
    """Answers for the server and for its services, which all have one state; not serving until `set_serving`.

    Questions are read one at a time. `Check` is answered for the server where its question cannot be read or
    understood, as only an unknown service has another answer. `Watch` lasts, so it ends instead.

    Args:
        services: Their names, besides the empty one of the server.
        asking_max: Calls that wait to be read: each may have 64 KiB here, which arrive unasked.
        watching_max: Calls of `Watch`; each costs 22 KiB for as long as it likes.
    """

    def __init__(self, *services: str, asking_max: int = 100, watching_max: int = 100) -> None:
        self._services = frozenset(("", *services))
        self._asking_max = asking_max
        self._watching_max = watching_max
        self._is_serving = False
        self._has_ended = False
        self._changed = asyncio.Event()  # Another one for each state.
        self._reading = asyncio.Lock()
        self._asking = 0
        self._watching = 0

    def set_serving(self, *, is_serving: bool) -> None:
        """Set the state and publish it to the watchers; not after the end."""
        is_serving = is_serving and not self._has_ended
        if is_serving == self._is_serving and not self._has_ended:
            return
        self._is_serving = is_serving
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def end(self) -> None:
        """Say for good that requests are not welcome; each watcher gets that, then its stream ends."""
        self._has_ended = True
        self.set_serving(is_serving=False)

    def handler(self) -> grpc.GenericRpcHandler:
        """What the server needs to answer."""
        serializer = HealthCheckResponse.SerializeToString
        methods = {  # As if they took streams: else gRPC reads all of a message before it shows us the call.
            "Check": grpc.stream_unary_rpc_method_handler(self._check, response_serializer=serializer),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, response_serializer=serializer),
        }
        return grpc.method_handlers_generic_handler(_SERVICE, methods)

    async def _check(self, _requests: object, context: grpc.aio.ServicerContext) -> HealthCheckResponse:
        service = await self._read_service(context) or ""
        if service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return HealthCheckResponse(status=self._status_of(service))

    async def _watch(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        if self._watching >= self._watching_max:
            reason = f"{self._watching_max} calls watch the health already"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        self._watching += 1
        try:
            service = await self._read_service(context)
            if service is None:
                reason = f"no whole question of at most {_SIZE_BYTES_MAX} bytes came within {_READ_S} s"
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, reason)
            else:
                await self._publish_changes(service, context)
        finally:
            self._watching -= 1

    async def _publish_changes(self, service: str, context: grpc.aio.ServicerContext) -> None:
        published = None
        while True:
            has_ended, changed = self._has_ended, self._changed
            status = self._status_of(service)
            if status != published:
                await context.write(HealthCheckResponse(status=status))  # Waits for a watcher that does not read.
                published = status
            if has_ended:
                return
            await changed.wait()

    async def _read_service(self, context: grpc.aio.ServicerContext) -> str | None:
        """The service that is asked for; None: it did not come in time, or not in a whole short question."""
        if self._asking >= self._asking_max:
            return None
        self._asking += 1
        try:
            async with asyncio.timeout(_READ_S), self._reading:
                body = await context.read()
                if not isinstance(body, bytes) or len(body) > _SIZE_BYTES_MAX:
                    return None
                if await context.read() is not grpc.aio.EOF:  # Behind the end nothing comes unasked any more.
                    return None
            return str(HealthCheckRequest.FromString(body).service)
        except TimeoutError:
            return None
        except DecodeError:
            return ""
        finally:
            self._asking -= 1

    def _status_of(self, service: str) -> int:
        if service not in self._services:
            return int(HealthCheckResponse.SERVICE_UNKNOWN)
        return int(HealthCheckResponse.SERVING if self._is_serving else HealthCheckResponse.NOT_SERVING)
