"""Kernels are loaded before the first request: from disk in half a second, by the compiler in some."""

import asyncio
import logging
import os
import subprocess
import sys
import threading

import numpy as np

from otel_sla.counting.classify.classifier import Classifier
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.jit import CACHE_DIRECTORY, is_cache_warm
from otel_sla.sla.counts import AcceptWindow
from otel_sla.spans.columns import COLUMNS, SPAN_KIND_SERVER, SpanColumns, WatchList
from otel_sla.spans.request import decode_request

_log = logging.getLogger(__name__)

_WARM_S = 1.0  # Kernels that are on disk are loaded in half of it.


async def warm_up(classifier: Classifier) -> None:
    """Have all kernels loaded or compiled, so that the first request does not wait; logs it when it takes long."""
    is_needless = threading.Event()
    decoder = _compile_decoder()
    warming = asyncio.create_task(asyncio.to_thread(load_kernels, classifier, is_needless, decoder))
    try:
        await asyncio.wait((warming,), timeout=_WARM_S)
        if not warming.done():
            how_often = "once on a machine"
            if CACHE_DIRECTORY is None:
                how_often = "at every start, as no folder for them can be written: set XDG_CACHE_HOME"
            _log.info("compiling kernels: some seconds, %s", how_often, extra={"action": "compiling"})
        await warming
    finally:
        is_needless.set()
        if decoder is not None:
            decoder.kill()
            decoder.wait()


def _compile_decoder() -> "subprocess.Popen[bytes] | None":
    """Have the decoder's kernels, half of all the work, compiled by a process beside, into the folder for them.

    numba compiles one kernel at a time, whatever the number of threads: a first start took 15.0 s, and takes 9.8.
    """
    if CACHE_DIRECTORY is None or is_cache_warm() or os.cpu_count() == 1:
        return None
    try:
        return subprocess.Popen(  # noqa: S603 - ourselves.
            [sys.executable, "-m", __name__],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C goes to this process alone, which ends it.
        )
    except OSError:
        return None


def load_kernels(
    classifier: Classifier,
    is_needless: threading.Event | None = None,
    decoder: "subprocess.Popen[bytes] | None" = None,
) -> None:
    """Load or compile all kernels on this thread; it ends between two of them once `is_needless` is set.

    `decoder` is waited for before the decoder's kernels are loaded; what has become of it does not matter.
    """
    window = AcceptWindow(sealed_before_minute=1, future_after_unix_nano=0)
    requests = classifier.classify(_one_span(classifier.watch), window, np.ones(1, dtype=np.bool_))
    MinuteRing().add(requests)
    if decoder is not None:
        decoder.wait()
    if is_needless is None or not is_needless.is_set():
        decode_request(b"", classifier.watch)


def _one_span(watch: WatchList) -> SpanColumns:
    """Give a span that no window accepts."""
    columns = SpanColumns(np.zeros(1, dtype=np.uint8), 1, 1, (len(watch.resource_keys), len(watch.span_keys)))
    for name in COLUMNS:
        if name != "body":
            getattr(columns, name)[:] = 0
    columns.kind[:] = SPAN_KIND_SERVER
    return columns


if __name__ == "__main__":
    decode_request(b"", WatchList((), ()))
