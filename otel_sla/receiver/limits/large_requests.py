"""When large requests may begin, so that small ones are served between them.

Large requests are served one after another, yet each keeps the event loop for milliseconds: a sender of small ones
that always waits for one of them keeps a fiftieth of its rate. So a large request begins a while after the one before
it, for as long as small requests of others arrive in that while.
"""

import asyncio

_COST_S_PER_BYTE = 3e-9
_PART = 6  # Large requests take one part of this many of the time that small ones ask for.
_POLL_S = 0.005
_IDLE_POLLS = 6  # In a row. Without a small request in this time the large ones need not wait any longer.


class StartedRequest:
    """A large request that has begun; without slots, one that waited as long as it may."""

    __slots__ = ("_slots", "_timer")

    def __init__(self, slots: asyncio.Semaphore | None = None, quick_s: float = 0.0) -> None:
        self._slots = slots
        self._timer = None if slots is None else asyncio.get_running_loop().call_later(quick_s, self.end)

    def end(self) -> None:
        """Let another begin; called again, nothing changes."""
        slots, self._slots = self._slots, None
        if slots is not None and self._timer is not None:
            self._timer.cancel()
            slots.release()


class LargeRequests:
    """Lets large requests begin; one for all servers of a process.

    Args:
        started_max: Large requests at once: while some wait for their commit, one is counted and the next is read.
            With 2, and a commit for each of them, a disk that takes 10 ms to sync let 0.7 (gRPC) and 0.55 (HTTP) as
            many through in requests of 8,192 spans.
        quick_s: A request that takes longer waits for its sender, and another may begin.
        wait_s_max: After it a request begins all the same: a thousand senders who stall after their first 64 KiB
            would delay it by 50 s.
    """

    def __init__(self, started_max: int = 4, quick_s: float = 0.1, wait_s_max: float = 3.0) -> None:
        self._turn = asyncio.Lock()  # First come, first served. A connection asks once at a time.
        self._slots = asyncio.Semaphore(started_max)
        self._quick_s = quick_s
        self._wait_s_max = wait_s_max
        self._next_s = 0.0  # When the next may begin, by the loop's clock.
        self._owner: object = None  # Whose request began last.
        self._small_count = 0  # Small requests of others.
        self._small_under_way = 0  # Of anybody.
        self._is_shared = False  # Others sent small requests, and have not paused since.

    def begin_small(self, owner: object) -> None:
        """Count a small request; followed by one `end_small`."""
        self._small_under_way += 1
        if owner != self._owner:
            self._small_count += 1
            self._is_shared = True

    def end_small(self) -> None:
        """Count the answer to a small request."""
        self._small_under_way -= 1

    async def wait(self, owner: object, size_bytes: int) -> StartedRequest:
        """Wait until a large request may begin; the caller ends what it gets.

        Args:
            owner: Who sends it; a sender need not leave time to itself.
            size_bytes: How large it is, or is expected to be.
        """
        try:
            async with asyncio.timeout(self._wait_s_max), self._turn:
                await self._slots.acquire()
                try:
                    await self._leave_time()
                except BaseException:
                    self._slots.release()
                    raise
                self._next_s = asyncio.get_running_loop().time() + _PART * _COST_S_PER_BYTE * size_bytes
                self._owner = owner
                return StartedRequest(self._slots, self._quick_s)
        except TimeoutError:
            return StartedRequest()

    async def _leave_time(self) -> None:
        """Wait for the next start, or until small requests no longer arrive."""
        loop = asyncio.get_running_loop()
        idle_polls = 0
        while idle_polls < _IDLE_POLLS and self._is_shared and (now_s := loop.time()) < self._next_s:
            count = self._small_count
            await asyncio.sleep(min(_POLL_S, self._next_s - now_s))
            if self._small_under_way or self._small_count > count:
                idle_polls = 0
            elif loop.time() - now_s < 2 * _POLL_S:  # Else the loop was too busy for small ones.
                idle_polls += 1
        self._is_shared = idle_polls < _IDLE_POLLS and self._is_shared
