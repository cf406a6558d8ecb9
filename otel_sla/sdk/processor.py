"""The span processor: the request's thread leaves a span in a queue, one thread of ours does all the rest.

Nothing but the SDK's tracing is imported here: the kernels' compiler and the configuration's models come in when a
processor is made.
"""

import logging
import os
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Lock, RLock, Thread
from typing import TYPE_CHECKING

from opentelemetry import metrics
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from otel_sla.config import Config
    from otel_sla.sdk.counter import SpanCounter
    from otel_sla.sdk.instruments import Labelled

_log = logging.getLogger(__name__)

QUEUE_SIZE_MAX = 16_384  # Spans; some 3 KB each, and 16 s of 1,000 requests a second while kernels are compiled.
SERIES_MAX = 200  # Each takes some 0.1 MB in a month.
_DRAIN_SIZE = 2_048  # Spans at which the thread is called before its second is over.
_DRAIN_INTERVAL_S = 1.0
_STOP_S_MAX = 30.0  # As the SDK's own batch processor waits.
_SERVER = SpanKind.SERVER


class SlaSpanProcessor(SpanProcessor):
    """Counts the application's own server spans and gives uptime as gauges of its MeterProvider.

    Every recorded server span counts, sampled or not. What a sampler drops is never seen: `RecordServerSpans`.

    Args:
        config: The file that otel-sla itself is configured with, of which `agreements` and `processor` are used, or
            one that is loaded already. None: the defaults.
        meter_provider: Gets the instruments. None: the global one, which may be set later.
        ledger: A file that keeps the counts over a restart; one process at a time can have it. None: in memory only.
        queue_size_max: Spans that wait to be counted. Spans above it are dropped, which is logged.
        series_max: Series of each agreement, where the configuration does not allow fewer.
        clock: ns since the Unix epoch.

    Raises:
        ConfigError: The configuration cannot be used.
        LedgerError: The ledger cannot be opened.
    """

    _closed_by: str  # Why nothing is taken any more: shutdown, failed; empty while it is.
    _is_called: bool  # Whether the thread was called before its second is over.

    def __init__(
        self,
        config: "Config | str | os.PathLike[str] | None" = None,
        *,
        meter_provider: metrics.MeterProvider | None = None,
        ledger: str | os.PathLike[str] | None = None,
        queue_size_max: int = QUEUE_SIZE_MAX,
        series_max: int = SERIES_MAX,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        assert queue_size_max >= 1, f"queue_size_max is {queue_size_max}"
        assert series_max >= 1, f"series_max is {series_max}"
        # Here, and not on the thread: a process that forks while a module is imported leaves its lock held for ever.
        from otel_sla.sdk import counter, instruments  # noqa: F401

        loaded = _loaded(config)
        limit = min(series_max, loaded.processor.series_max)
        self._config = replace(loaded, processor=replace(loaded.processor, series_max=limit))
        name = None if ledger is None else os.fspath(ledger)
        self._ledger_url = name if name is None or name.startswith("sqlite:") else f"sqlite:///{name}"
        self._queue_size_max = queue_size_max
        self._clock = clock
        self._fork_lock = Lock()
        self._is_fork_locked = False
        self._begin()
        if (error := self._made.get()) is not None:
            raise error
        instruments.create_instruments(
            metrics.get_meter_provider() if meter_provider is None else meter_provider,
            lambda: self._figures,
            lambda: dict(self._uncounted),
            lambda: self._counter.overflow_count if self._counter else 0,
        )
        _register_at_fork(self)

    def on_end(self, span: ReadableSpan) -> None:
        """Leave a server span to be counted; 0.3 us in benchmarks/bench_sdk.py."""
        if span.kind is not _SERVER:
            return
        n_waiting = len(self._queue)
        if n_waiting >= self._queue_size_max or self._closed_by:
            self._refuse()
            return
        self._queue.append(span)
        if n_waiting >= _DRAIN_SIZE and not self._is_called:
            self._is_called = True
            self._calls.put(None)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Count what waits and judge what has elapsed; whether that was done in time."""
        if self._closed_by or not self._thread.is_alive():
            return False
        done = Event()
        self._calls.put(done)
        return done.wait(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Count what waits and end; the last figures stay. Again is fine."""
        if self._closed_by:
            return
        self._closed_by = "shutdown"
        self._calls.put(None)
        # Until there is a counter, kernels are compiled; only spans for a ledger are worth waiting for that.
        is_idle = self._counter is None and not (self._ledger_url and self._queue)
        self._thread.join(0 if is_idle else _STOP_S_MAX)
        with self._refusing:
            self._uncounted["shutdown"] += len(self._queue)
        self._queue.clear()

    def _begin(self) -> None:
        self._queue: deque[ReadableSpan] = deque()
        # Unlike an Event, it may be put to by a signal handler in the middle of a put.
        self._calls: SimpleQueue[Event | None] = SimpleQueue()
        self._closed_by = ""
        self._is_called = False
        self._has_failed = False
        self._refusing = RLock()
        self._uncounted: Counter[str] = Counter()
        self._figures: tuple[Labelled, ...] = ()
        self._counter: SpanCounter | None = None
        self._made: SimpleQueue[Exception | None] = SimpleQueue()  # Gets one: what went wrong, or None.
        self._thread = Thread(target=self._run, name="otel-sla", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003 - SQLite's calls may be instrumented.
        try:
            with self._fork_lock:
                counter = self._make_counter()
                if counter is None:
                    return
                counter.load_kernels()
                self._counter = counter
            while not self._closed_by:
                self._wait_and_work(counter)
            self._work(counter)
            counter.close()
        except Exception:  # An application does not end for want of its figures.
            self._closed_by = "failed"
            _log.exception("nothing more is counted for the agreements", extra={"action": "sdk_failed"})

    def _make_counter(self) -> "SpanCounter | None":
        """Make them on this thread, to which a ledger's connection belongs; None: the constructor raises why not."""
        from otel_sla.sdk.counter import SpanCounter

        try:
            counter = SpanCounter(self._config, self._ledger_url, self._uncounted, self._clock)
        except Exception as error:
            self._closed_by = "failed"
            self._made.put(error)
            return None
        self._made.put(None)
        return counter

    def _wait_and_work(self, counter: "SpanCounter") -> None:
        flushes: list[Event] = []
        try:
            call = self._calls.get(timeout=_DRAIN_INTERVAL_S)
            while True:
                if call is not None:
                    flushes.append(call)
                call = self._calls.get_nowait()
        except Empty:
            pass
        self._is_called = False
        self._work(counter)
        for done in flushes:
            done.set()

    def _work(self, counter: "SpanCounter") -> None:
        try:
            with self._fork_lock:
                spans = [self._queue.popleft() for _ in range(len(self._queue))]
                if spans:
                    counter.count(spans)
                figures = counter.judge()
                if figures is not None:
                    self._figures = figures
        except Exception:  # What fails once a second is logged once.
            if not self._has_failed:
                self._has_failed = True
                _log.exception("a round of counting failed; the next ones go on", extra={"action": "sdk_round_failed"})

    def _refuse(self) -> None:
        """Count a span that is not taken, and log the first one."""
        reason = self._closed_by or "queue_full"
        with self._refusing:
            self._uncounted[reason] += 1
            is_first = self._uncounted[reason] == 1
        if is_first and reason == "queue_full":
            _log.warning(
                "more than %d spans wait to be counted: the rest is dropped and missing in the figures",
                self._queue_size_max,
                extra={"action": "spans_dropped"},
            )

    def _before_fork(self) -> None:
        # Between two rounds of the thread no lock of the compiler, of SQLite or of a module is held by it.
        self._is_fork_locked = self._fork_lock.acquire(timeout=_STOP_S_MAX)

    def _after_fork_in_parent(self) -> None:
        if self._is_fork_locked:
            self._fork_lock.release()

    def _after_fork_in_child(self) -> None:
        """Begin anew: what the parent counted is the parent's, and so is its ledger."""
        self._fork_lock, self._refusing = Lock(), RLock()
        _PARENTS.append(self._counter)
        if self._counter is not None:
            self._counter.leave_to_parent()
        if self._ledger_url is not None:
            self._ledger_url = None
            _log.warning(
                "a forked process counts in memory: the ledger stays with process %d",
                os.getppid(),
                extra={"action": "ledger_of_parent"},
            )
        if not self._closed_by:
            self._begin()


_PARENTS: list[object] = []  # Kept for ever: to close a parent's SQLite connection in a child would spoil its file.


def _loaded(config: "Config | str | os.PathLike[str] | None") -> "Config":
    from otel_sla.config import Config, load_config

    if isinstance(config, Config):
        return config
    return load_config(None if config is None else Path(config), os.environ)


def _register_at_fork(processor: SlaSpanProcessor) -> None:
    """Register the three hooks by weak references: hooks cannot be taken back."""
    if not hasattr(os, "register_at_fork"):
        return

    def calling(method: Callable[[], None]) -> Callable[[], None]:
        reference = weakref.WeakMethod(method)

        def call() -> None:
            if (alive := reference()) is not None:
                alive()

        return call

    os.register_at_fork(
        before=calling(processor._before_fork),  # noqa: SLF001 - its own module.
        after_in_parent=calling(processor._after_fork_in_parent),  # noqa: SLF001
        after_in_child=calling(processor._after_fork_in_child),  # noqa: SLF001
    )
