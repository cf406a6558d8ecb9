"""Makes an exporter's blocking calls, one after the other, on a thread that nobody has to wait for.

The standard library's executors wait for their threads when the process ends. A call that hangs at a backend would hold
up the end for as long as it may take, and what it sends is sent again at the next start anyway.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class CallThread:
    """One thread, begun with the first call.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def call(self, function: Callable[[], _Result]) -> _Result:
        """Give what the function gives, or raise what it raises; cancelled, the call goes on and nobody hears of it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Result] = loop.create_future()

        def run() -> None:
            result, error = _outcome(function)
            with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                loop.call_soon_threadsafe(_settle, future, result, error)

        self._calls.put(run)
        return await future

    def close(self) -> None:
        """Let the thread end when its last call does; waits for nothing."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (run := self._calls.get()) is not None:
            run()


def _outcome(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return function(), None
    except Exception as error:  # noqa: BLE001 - it is raised where the call was made.
        return None, error


def _settle(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
