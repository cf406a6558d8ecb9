"""A page over a small ledger, without a pipeline: the test says what is live, and asks as a browser does."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
from ledger_parts import Row, count_rows
from sla_parts import make_agreement

from otel_sla.judging.terms_versions import record_versions
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.logs import LogFormat, LogLevel, LogSettings
from otel_sla.page.app import Page
from otel_sla.page.figures import FiguresReader
from otel_sla.page.live import LiveMinutes, LiveState
from otel_sla.page.routes import ROUTES
from otel_sla.page.settings import PageSettings, PageTask
from otel_sla.receiver.responses import Readiness
from otel_sla.sla.agreement import Agreement, ExclusionReason, ExclusionWindow
from otel_sla.sla.months import Month, month_range
from otel_sla.sla.series import Series

NOVEMBER = Month(2026, 11)
START = month_range(NOVEMBER, "UTC").start_minute
NOW = START + 20 * 1440 + 600  # 2026-11-21T10:00Z: judged up to here.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def page_series(names: Iterable[str], agreement: str = "chat", first_id: int = 0) -> tuple[Series, ...]:
    """Series by service."""
    return tuple(
        Series(number, agreement, (("service.name", name.encode()),), is_overflow=False)
        for number, name in enumerate(names, start=first_id)
    )


def window(start_minute: int, n_minutes: int, note: str, **fields: object) -> ExclusionWindow:
    """One window of force majeure."""
    start = EPOCH + timedelta(minutes=start_minute)
    made = ExclusionWindow(
        reason=ExclusionReason.FORCE_MAJEURE,
        start=start,
        stop=start + timedelta(minutes=n_minutes),
        group=None,
        announced_at=None,
        note=note,
        recorded_by="ops@example.com",
        recorded_at=start + timedelta(hours=4),
    )
    return replace(made, **fields)  # type: ignore[arg-type]


class ShownPage:
    """A ledger, the page over it, and a browser.

    Args:
        folder: For the ledger.
        agreements: As configured.
        settings: Of the page.
    """

    def __init__(
        self, folder: Path, agreements: Sequence[Agreement] = (), settings: PageSettings | None = None
    ) -> None:
        self.agreements = tuple(agreements) or (make_agreement(),)
        self.url = f"sqlite:///{folder}/ledger.db"
        self.live: LiveState | None = None
        with closing(Ledger.open(self.url)) as ledger:
            self._versions = record_versions(ledger, self.agreements, START).versions
        task = PageTask(
            settings=settings or PageSettings(),
            listening=(),
            ledger_url=self.url,
            agreements=self.agreements,
            grace_s=0.0,
            receivers=("OTLP/gRPC: localhost:4317",),
            logs=LogSettings(level=LogLevel.INFO, format=LogFormat.TEXT),
        )
        self.page = Page(task, self._ask, ROUTES)

    async def _ask(self) -> LiveState | None:
        return self.live

    def count(self, series: Sequence[Series], rows: Iterable[Row], *, judged_before: int | None = NOW) -> None:
        """Count (minute, series_id, succeeded, failed, invalid) and publish what is before `judged_before`."""
        with closing(Ledger.open(self.url)) as ledger:
            ledger.commit(Commit(tuple(series), count_rows(rows), (), versions=self._versions))
            if judged_before is not None:
                ledger.close_minutes(Closing(judged_before, None, published_before=judged_before))
        self.read()

    def exclude(self, window: ExclusionWindow, withdrawn_because: str = "") -> None:
        """Record an exclusion of the first agreement, and withdraw it where a reason is given."""
        with closing(ExclusionWriter.open(self.url)) as writer:
            number = writer.record_exclusion(self.agreements[0].name, window, {})
            if withdrawn_because:
                writer.withdraw_exclusion(
                    number, withdrawn_by="anna@example.com", withdrawn_at=EPOCH, why=withdrawn_because
                )

    def read(self) -> None:
        """Let the page read the ledger."""
        with closing(LedgerReader.open(self.url)) as reader:
            *_, self.page.figures = FiguresReader(reader, self.agreements).refresh()

    def see(self, rows: Iterable[tuple[int, int, int, int]], *, reason: str = "") -> None:
        """Let the ring hold (minutes before the running one, series_id, succeeded, failed)."""
        table = np.array(list(rows), dtype=np.int64).reshape(-1, 4)
        outcomes = np.column_stack((table[:, 2:], np.zeros(len(table), dtype=np.int64)))
        minutes = LiveMinutes(NOW, table[:, 1], NOW - table[:, 0], outcomes)
        self.live = LiveState(minutes, NOW * 60 * 10**9, Readiness(reason))

    def points(self, *points: tuple[str, Mapping[str, str], float]) -> None:
        """Let the pipeline have these values of its own metrics."""
        assert self.live is not None, "it answers"
        self.live = replace(self.live, points=points)

    def ask(self, path: str) -> httpx.Response:
        """Ask as a browser does."""

        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.page.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
                return await client.get(path)

        return asyncio.run(asked())

    def get(self, path: str, status: int = 200) -> str:
        """Ask for a page, and give its text."""
        answer = self.ask(path)
        assert answer.status_code == status, answer.text
        return answer.text
