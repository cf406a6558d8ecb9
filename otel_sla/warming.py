"""Kernels are loaded before the first request: from disk in half a second, by the compiler in some."""

import asyncio
import logging
import threading

from otel_sla.jit import CACHE_DIRECTORY
from otel_sla.sla.classify import AcceptWindow, Classifier
from otel_sla.sla.ring import MinuteRing
from otel_sla.spans.decode import decode_request

_log = logging.getLogger(__name__)

_WARM_S = 1.0  # Kernels that are on disk are loaded in half of it.


async def warm_up(classifier: Classifier) -> None:
    """Have all kernels loaded or compiled, so that the first request does not wait; says so when it takes long."""
    is_needless = threading.Event()
    warming = asyncio.create_task(asyncio.to_thread(load_kernels, classifier, is_needless))
    try:
        await _wait_for(warming)
    finally:
        is_needless.set()


async def _wait_for(warming: asyncio.Task[None]) -> None:
    await asyncio.wait((warming,), timeout=_WARM_S)
    if not warming.done():
        how_often = "once on a machine"
        if CACHE_DIRECTORY is None:
            how_often = "at every start, as no folder for them can be written: set XDG_CACHE_HOME"
        _log.info("compiling kernels: some seconds, %s", how_often, extra={"action": "compiling"})
    await warming


def load_kernels(classifier: Classifier, is_needless: threading.Event | None = None) -> None:
    """Load or compile all kernels on this thread, until `is_needless` is set: a compiler cannot be interrupted."""
    columns = decode_request(_ONE_SPAN, classifier.watch)
    if is_needless is not None and is_needless.is_set():
        return
    window = AcceptWindow(sealed_before_minute=1, future_after_unix_nano=0)
    requests = classifier.classify(columns, window, columns.resource_start >= 0)
    MinuteRing().add(requests)


# resource_spans { scope_spans { spans { kind: SERVER } } }, which no window accepts.
_ONE_SPAN = bytes.fromhex("0a0612041202" + "3002")
