"""`grpc.health.v1`: says whether requests are welcome; its streams end when the server stops.

Anybody may ask, without a token: so a question costs next to nothing, whatever its size. The library's servicer takes
whole messages, of all calls at once; and it writes to those who watch under the lock that a change of state needs, so
that one of them who does not read held up the stop for ever.
"""

import asyncio
from contextlib import suppress

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

_SERVICE = "grpc.health.v1.Health"
_READ_S = 0.1  # Of the turn and the reading: a question comes with its call.
_SIZE_BYTES_MAX = 1024


class Health:
    """Answers for the server and for its services, which all have one state; not serving until `set_serving`.

    Questions are read one at a time. One that cannot be read or understood is answered for the server: of this it
    depends only whether an unknown service is told so.

    Args:
        services: Their names, besides the empty one of the server.
    """

    def __init__(self, *services: str) -> None:
        self._services = frozenset(("", *services))
        self._is_serving = False
        self._has_ended = False
        self._changed = asyncio.Event()  # Another one for each state.
        self._reading = asyncio.Lock()

    def set_serving(self, *, is_serving: bool) -> None:
        """Tell another state to those who watch; not after the end."""
        self._is_serving = is_serving and not self._has_ended
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
        service = await self._read_service(context)
        if service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return HealthCheckResponse(status=self._status_of(service))

    async def _watch(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        service = await self._read_service(context)
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

    async def _read_service(self, context: grpc.aio.ServicerContext) -> str:
        with suppress(TimeoutError, DecodeError):
            async with asyncio.timeout(_READ_S), self._reading:
                body = await context.read()
            if isinstance(body, bytes) and len(body) <= _SIZE_BYTES_MAX:
                return str(HealthCheckRequest.FromString(body).service)
        return ""

    def _status_of(self, service: str) -> int:
        if service not in self._services:
            return int(HealthCheckResponse.SERVICE_UNKNOWN)
        return int(HealthCheckResponse.SERVING if self._is_serving else HealthCheckResponse.NOT_SERVING)
