"""A thread that owns a ledger connection and runs every call on it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.writer import Ledger

_Connection = TypeVar("_Connection", bound=LedgerReadings)
_Result = TypeVar("_Result")


class LedgerThread(Generic[_Connection]):
    """One thread with one connection; calls run one after the other, in the order of calling."""

    def __init__(self, name: str, open_connection: Callable[[], _Connection]) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._open_connection = open_connection
        self._connection: _Connection | None = None

    async def open(self) -> None:
        """Open the connection; raises as that does."""
        self._connection = await self._run(self._open_connection)

    async def call(self, function: Callable[[_Connection], _Result]) -> _Result:
        """Run a function of the connection on its thread; raises as that does."""
        assert self._connection is not None, "the connection is open"
        return await self._run(partial(function, self._connection))

    def give_up(self) -> None:
        """Let the current read and all later ones fail soon with LedgerUnavailable."""
        if self._connection is not None:
            self._connection.give_up()

    async def close(self) -> None:
        """Close the connection after all that was called before; safe when it was never opened, and twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._run(connection.close)
        self._executor.shutdown(wait=False)

    async def _run(self, function: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)


Writer = LedgerThread[Ledger]
