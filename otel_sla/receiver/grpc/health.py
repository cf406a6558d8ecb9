"""`grpc.health.v1`: says whether requests are welcome; its streams end when the server stops.

Anybody may ask, without a token: so a question costs next to nothing, whatever its size. The library's servicer takes
whole messages, of all calls at once; and it writes to those who watch under the lock that a change of state needs, so
that one of them who does not read held up the stop for ever.

From the moment that gRPC is asked for a message it takes all of it, up to the limit of a request, and goes on when the
one who asked has given up: until the call ends. So a call whose question was not read to its end must not go on.
"""

import asyncio

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

_SERVICE = "grpc.health.v1.Health"
_READ_S = 0.1  # Of the turn and the reading: a question comes with its call.
_SIZE_BYTES_MAX = 1024
_ASKING_MAX = 100  # Calls that wait to be read: each may have 64 KiB here, which come unasked.
_WATCHING_MAX = 100  # Calls; each costs 22 KiB for as long as it likes.


class Health:
    """Answers for the server and for its services, which all have one state; not serving until `set_serving`.

    Questions are read one at a time. `Check` is answered for the server where its question cannot be read or
    understood: of this it depends only whether an unknown service is told so. `Watch` goes on, so it ends instead.

    Args:
        services: Their names, besides the empty one of the server.
    """

    def __init__(self, *services: str) -> None:
        self._services = frozenset(("", *services))
        self._is_serving = False
        self._has_ended = False
        self._changed = asyncio.Event()  # Another one for each state.
        self._reading = asyncio.Lock()
        self._asking = 0
        self._watching = 0

    def set_serving(self, *, is_serving: bool) -> None:
        """Tell another state to those who watch; not after the end."""
        is_serving = is_serving and not self._has_ended
        if is_serving == self._is_serving and not self._has_ended:
            return
        self._is_serving = is_serving
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def end(self) -> None:
        """Say for good that requests are not welcome; whoever watches is told so, and is then at the end."""
        self._has_ended = True
        self.set_serving(is_serving=False)

    def handler(self) -> grpc.GenericRpcHandler:
        """Give what the server needs to answer."""
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
        if self._watching >= _WATCHING_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_WATCHING_MAX} calls watch the health already")
        self._watching += 1
        try:
            service = await self._read_service(context)
            if service is None:
                why = f"no whole question of at most {_SIZE_BYTES_MAX} bytes came within {_READ_S} s"
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, why)
            else:
                await self._tell_changes(service, context)
        finally:
            self._watching -= 1

    async def _tell_changes(self, service: str, context: grpc.aio.ServicerContext) -> None:
        told = None
        while True:
            has_ended, changed = self._has_ended, self._changed
            status = self._status_of(service)
            if status != told:
                await context.write(HealthCheckResponse(status=status))  # Waits for those who do not read.
                told = status
            if has_ended:
                return
            await changed.wait()

    async def _read_service(self, context: grpc.aio.ServicerContext) -> str | None:
        """Give the service that is asked for; None: it did not come in time, or not by a whole short question."""
        if self._asking >= _ASKING_MAX:
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
