"""When large requests may begin, so that small ones are served between them.

Large requests are served one after another, yet each keeps the event loop for milliseconds: a sender of small ones
that always waits for one of them keeps a fiftieth of its rate. So a large request begins a while after the one before
it, for as long as others make use of that while.
"""

import asyncio

_COST_S_PER_BYTE = 3e-9
_PART = 6  # Large requests take one part of this many of the time that small ones ask for.
_LOOK_S = 0.005
_GAPS = 6  # Looks in a row. Small ones that are followed by none in this time have left the rest to the large ones.
# Large ones: while some wait for their commit, one is counted and the next is read. With 2, and a commit for each of
# them, a disk that takes 10 ms to sync let 0.7 (gRPC) and 0.55 (HTTP) as many through in requests of 8,192 spans.
_UNDER_WAY_MAX = 4
_QUICK_S = 0.1  # One that takes longer waits for its sender, not for us.
# Then it begins all the same: a thousand senders who stall after their first 64 KiB would hold it up for 50 s.
_WAIT_S_MAX = 3.0


class StartedRequest:
    """A large request that is under way; without slots, one that waited long enough for its turn."""

    __slots__ = ("_slots", "_timer")

    def __init__(self, slots: asyncio.Semaphore | None = None) -> None:
        self._slots = slots
        self._timer = None if slots is None else asyncio.get_running_loop().call_later(_QUICK_S, self.end)

    def end(self) -> None:
        """Let another begin; called again, nothing changes."""
        slots, self._slots = self._slots, None
        if slots is not None and self._timer is not None:
            self._timer.cancel()
            slots.release()


class LargeRequests:
    """Lets large requests begin; one for all servers of a pipeline."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # First come, first served. A connection asks once at a time.
        self._slots = asyncio.Semaphore(_UNDER_WAY_MAX)
        self._next_s = 0.0  # When the next may begin, by the loop's clock.
        self._owner: object = None  # Whose request began last.
        self._small_count = 0  # Small requests of others.
        self._small_under_way = 0  # Of anybody.
        self._is_shared = False  # There were small requests of others, and no gap after them yet.

    def begin_small(self, owner: object) -> None:
        """Tell that a small request is there; followed by one `end_small`."""
        self._small_under_way += 1
        if owner != self._owner:
            self._small_count += 1
            self._is_shared = True

    def end_small(self) -> None:
        """Tell that it has been answered."""
        self._small_under_way -= 1

    async def wait(self, owner: object, size_bytes: int) -> StartedRequest:
        """Wait until a large request may begin, 3 s at most; it has to be told when it has ended.

        Args:
            owner: Whose it is; they need not leave time to themselves.
            size_bytes: How large it is, or is expected to be.
        """
        try:
            async with asyncio.timeout(_WAIT_S_MAX):
                return await self._begin(owner, size_bytes)
        except TimeoutError:
            return StartedRequest()

    async def _begin(self, owner: object, size_bytes: int) -> StartedRequest:
        async with self._turn:
            await self._slots.acquire()
            try:
                await self._leave_time()
            except BaseException:
                self._slots.release()
                raise
            self._next_s = asyncio.get_running_loop().time() + _PART * _COST_S_PER_BYTE * size_bytes
            self._owner = owner
            return StartedRequest(self._slots)

    async def _leave_time(self) -> None:
        """Leave time to small requests, for as long as they use it."""
        loop = asyncio.get_running_loop()
        gaps = 0
        while gaps < _GAPS and self._is_shared and (now_s := loop.time()) < self._next_s:
            count = self._small_count
            await asyncio.sleep(min(_LOOK_S, self._next_s - now_s))
            if self._small_under_way or self._small_count > count:
                gaps = 0
            elif loop.time() - now_s < 2 * _LOOK_S:  # Where the loop was busy, nobody else had the time to come.
                gaps += 1
        self._is_shared = gaps < _GAPS and self._is_shared
