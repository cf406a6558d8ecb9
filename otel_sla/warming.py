"""Kernels are loaded before the first request: from disk in half a second, by the compiler in some."""

import asyncio
import logging

from otel_sla.sla.classify import AcceptWindow, Classifier
from otel_sla.sla.ring import MinuteRing
from otel_sla.spans.decode import decode_request

_log = logging.getLogger(__name__)

_WARM_S = 1.0  # Kernels that are on disk are loaded in half of it.


async def warm_up(classifier: Classifier) -> None:
    """Have all kernels loaded or compiled, so that the first request does not wait; says so when it takes long."""
    warming = asyncio.create_task(asyncio.to_thread(load_kernels, classifier))
    await asyncio.wait((warming,), timeout=_WARM_S)
    if not warming.done():
        _log.info("compiling kernels: some seconds, once on a machine", extra={"action": "compiling"})
    await warming


def load_kernels(classifier: Classifier) -> None:
    """Load or compile all kernels on this thread."""
    columns = decode_request(_ONE_SPAN, classifier.watch)
    window = AcceptWindow(sealed_before_minute=1, future_after_unix_nano=0)
    requests = classifier.classify(columns, window, columns.resource_start >= 0)
    MinuteRing().add(requests)


# resource_spans { scope_spans { spans { kind: SERVER } } }, which no window accepts.
_ONE_SPAN = bytes.fromhex("0a0612041202" + "3002")
