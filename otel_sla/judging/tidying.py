"""Packs old counts and drops those that are older than they are kept, beside the requests."""

import time

from otel_sla.judging.clock import MinuteMarks
from otel_sla.ledger.threads import Writer
from otel_sla.sla.months import expire_before


class Tidier:
    """Tidies the ledger about `while_s` at a time, in pieces, so that no acknowledgement waits long and it keeps up."""

    def __init__(self, writer: Writer, retention_s: float, while_s: float) -> None:
        self._writer = writer
        self._retention_minutes = round(retention_s) // 60
        self._while_s = while_s
        self._expired_before = 0  # Epoch minute.

    async def tidy(self, progress: MinuteMarks) -> None:
        """Pack what is judged and drop what is older than it is kept, as far as time allows.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        stop_s = time.monotonic() + self._while_s
        sealed_before, pack_before = progress.sealed_before, progress.judged_before
        while await self._writer.call(lambda ledger: ledger.seal(sealed_before, pack_before=pack_before)):
            if time.monotonic() > stop_s:
                break
        retained_from = expire_before(progress.judged_before - self._retention_minutes)
        if retained_from > self._expired_before:
            has_more = await self._writer.call(lambda ledger: ledger.expire(retained_from))
            self._expired_before = self._expired_before if has_more else retained_from
