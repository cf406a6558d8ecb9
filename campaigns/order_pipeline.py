"""A pipeline driven step by step, restarted and dropped where a test wants it."""

import asyncio
import shutil
from collections.abc import Coroutine, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import agreements
import naive
from pipeline_parts import Clock, case_processor, events_of, make_config

from otel_sla.judging.month_report import each_series_minutes, elapsed_stop_minute, load_report
from otel_sla.judging.terms_versions import removed_agreements
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing
from otel_sla.receiver.settings import ReceiverSettings
from otel_sla.report.csv import each_minute_line
from otel_sla.report.json import render_json
from otel_sla.serving.pipeline import Pipeline
from otel_sla.sla.agreement import Agreement, ExclusionWindow
from otel_sla.sla.events import Event
from otel_sla.sla.months import Month

Change = tuple[str, ExclusionWindow] | tuple[int, datetime]  # An agreement's window recorded; an id withdrawn, when.


class Halted(Exception):
    """The judge was stopped between two of its transactions."""


class HaltingPipeline(Pipeline):
    """A pipeline whose judge can be stopped between two transactions."""

    closings_left: int | None = None  # None: any number.

    async def _close(self, closing: Closing) -> None:
        if self.closings_left is not None:
            if self.closings_left == 0:
                raise Halted
            self.closings_left -= 1
        await super()._close(closing)


class Driven:
    """A case's pipeline on a real ledger, without ports and exporters; time and judging are the caller's."""

    def __init__(self, folder: Path, case: agreements.Case, now: int) -> None:
        folder.mkdir()
        config = make_config(folder, case.agreements, **case_processor(case))
        self.config = replace(config, receiver=ReceiverSettings(grpc=None, http=None), exporters=())
        self.clock = Clock(now)
        self._grace = case.grace
        self._folder = folder
        self._copies = 0
        self._runner = asyncio.Runner()
        self._start()

    def _run(self, step: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  whatever the step gives
        return self._runner.run(asyncio.wait_for(step, 60))

    def _start(self) -> None:
        async def start() -> HaltingPipeline:
            pipeline = HaltingPipeline(self.config, clock=self.clock, tick_s=3600)
            await pipeline.start()
            await pipeline.tick()  # The one that it does by itself is over too, then.
            return pipeline

        self._pipeline: HaltingPipeline = self._run(start())

    def send(self, bodies: Sequence[bytes]) -> list[int]:
        """Send requests at the same time; how many spans of each are rejected."""

        async def send() -> list[int]:
            receipts = await asyncio.gather(*(self._pipeline.accountant.account(body) for body in bodies))
            return [receipt.rejected_spans for receipt in receipts]

        found: list[int] = self._run(send())
        return found

    def judge(self) -> None:
        """Close what has become old enough."""
        self._run(self._pipeline.tick())

    def restart(self) -> None:
        """Stop orderly, and start again."""
        self._run(self._pipeline.stop())
        self._start()

    def reconfigure(self, agreements: Sequence[Agreement], *, is_killed: bool) -> None:
        """Go on with other agreements, after an orderly end or a kill."""
        self.config = replace(self.config, agreements=tuple(agreements))
        if is_killed:
            self.drop()
        else:
            self.restart()

    def drop(self, closings: int | None = None) -> None:
        """Go on from the files as after a kill; with `closings`, one after so many transactions of the judge."""
        if closings is not None:
            self._pipeline.closings_left = closings
            with suppress(Halted):
                self.judge()
            self._pipeline.closings_left = None
        self._copies += 1
        survived = self._folder / f"copy-{self._copies}"
        survived.mkdir()
        for path in self._ledger_folder().glob("ledger.db*"):
            if not path.name.endswith(("-shm", "-lock")):  # Both are gone with their process.
                shutil.copy(path, survived)
        self._run(self._pipeline.stop())
        self.config = replace(self.config, ledger=replace(self.config.ledger, url=f"sqlite:///{survived}/ledger.db"))
        self._start()

    def _ledger_folder(self) -> Path:
        return Path(self.config.ledger.url.removeprefix("sqlite:///")).parent

    def change(self, change: Change) -> None:
        """Record or withdraw an exclusion beside the running pipeline."""
        with closing(ExclusionWriter.open(self.config.ledger.url)) as notebook:
            if isinstance(change[0], str):
                notebook.record_exclusion(change[0], change[1])
            else:
                notebook.withdraw_exclusion(change[0], withdrawn_by="a test", withdrawn_at=change[1], why="drawn")

    def report(self, month: str) -> str:
        """The month's report as JSON text, generated now."""
        with closing(LedgerReader.open(self.config.ledger.url)) as reader:
            return render_json(
                load_report(
                    reader,
                    self.config.agreements,
                    Month.parse(month),
                    self._elapsed_stop(),
                    self.moment,
                    removed=removed_agreements(reader, self.config.agreements),
                )
            )

    def minutes(self, month: str) -> list[str]:
        """The month's minutes: the first series' as CSV, the others' as the columns that CSV is written from."""
        with closing(LedgerReader.open(self.config.ledger.url)) as reader:
            terms = (*self.config.agreements, *removed_agreements(reader, self.config.agreements))
            found = list(each_series_minutes(reader, terms, Month.parse(month), self._elapsed_stop()))
        return list(each_minute_line(terms, found[:1])) + [
            f"{minutes.series.group_text} {column.tobytes()!r}"
            for minutes in found
            for column in (minutes.states.raw, minutes.states.adjusted, minutes.counts.counts)
        ]

    @property
    def moment(self) -> datetime:
        """The clock's time."""
        return naive.EPOCH + timedelta(microseconds=self.clock.now // 1000)

    def _elapsed_stop(self) -> int:
        return elapsed_stop_minute(self.moment, self._grace)

    def events(self) -> list[Event]:
        """All that was told."""
        return events_of(self.config)

    def close(self) -> None:
        """Stop."""
        self._run(self._pipeline.stop())
        self._runner.close()
