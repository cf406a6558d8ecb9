"""Group commit without a timer: while one commit runs, the next batch gathers.

Everything here lives on the event loop's thread; only the write itself runs elsewhere.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from otel_sla.errors import LedgerError, LedgerUnavailable

_log = logging.getLogger(__name__)


class GroupCommit:
    """Lets many requests share one durable commit.

    `write` takes all that has gathered when it is called, and returns once that is durable. When it fails, what is
    on disk is unknown: every waiter is told, every later one refused, and `failure` resolves so that the pipeline
    ends instead of going on as if it were written.
    """

    def __init__(self, write: Callable[[], Awaitable[None]]) -> None:
        self._write = write
        self._gathering: asyncio.Future[None] | None = None
        self._running: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.failure: asyncio.Future[LedgerError] = asyncio.get_running_loop().create_future()

    def join(self) -> asyncio.Future[None]:
        """Join the commit that is gathering; the result arrives when that commit is durable.

        Shield it: a sender that gives up must not take it away from the others.

        Raises:
            LedgerUnavailable: An earlier commit failed.
        """
        if self.failure.done():
            raise LedgerUnavailable(f"the ledger failed: {self.failure.result()}")
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().create_future()
            if self._task is None:
                self._task = asyncio.create_task(self._commit_all())
        return self._gathering

    async def settle(self) -> None:
        """Wait until all that had been counted when this was called is durable.

        Raises:
            LedgerError: It could not be written.
        """
        await asyncio.shield(self.join())

    async def _commit_all(self) -> None:
        while self._gathering is not None:
            self._running, self._gathering = self._gathering, None
            try:
                await self._write()
            except LedgerError as error:
                self._fail(error)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever.
                # A mistake of ours: what is half done must not be gone on with.
                _log.exception("a commit ended in an error that was not foreseen", extra={"action": "commit_failed"})
                self._fail(LedgerError(f"a commit ended in an error that was not foreseen: {error!r}"))
                return
            self._running.set_result(None)
        self._task = None

    def _fail(self, error: LedgerError) -> None:
        self.failure.set_result(error)
        for waiting in (self._running, self._gathering):
            if waiting is not None:
                waiting.set_exception(LedgerUnavailable(f"the ledger failed: {error}"))
                waiting.exception()  # A request that was cancelled has nobody left to fetch it.
