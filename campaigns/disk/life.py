"""One life of a pipeline: from its start, through waves of requests, to its end."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pipeline_parts import Clock, make_config

from disk.record import Acknowledged, Begun, Record, Told
from disk.sender import MINUTE_NANOS, Sender
from otel_sla.config import Config
from otel_sla.errors import LedgerError
from otel_sla.ledger.records import Commit, LedgerLimits
from otel_sla.ledger.writer import Ledger
from otel_sla.receiver.settings import ReceiverSettings
from otel_sla.serving.pipeline import Pipeline

_LOG_PAGES_MAX = LedgerLimits().log_pages_max


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens in a life."""

    waves: tuple[tuple[tuple[int, ...], ...], ...]  # Requests that are sent at once, as numbers of messages.
    tick_after: dict[int, int]  # Wave -> by how much time has gone on when the pipeline looks at it, ns.
    log_pages_max: int = _LOG_PAGES_MAX  # By default a short life never moves the log into the file.
    pragmas: tuple[str, ...] = ()  # For the writing connection.


def make_plan(
    sender: Sender, rng: random.Random, clock: Clock, unanswered: Iterable[int], known: Sequence[int]
) -> Plan:
    """All that is unanswered is sent again, then new messages; some that were counted come again."""
    waves = [tuple(sender.batched(unanswered))]
    sent = list(known)
    for _ in range(rng.randrange(1, 6)):
        again = rng.sample(sent, min(len(sent), rng.randrange(3)))
        new = sender.make(rng.randrange(1, 8), clock.now)
        waves.append(tuple(sender.batched([*new, *again])))
        sent += new
    ticks = {
        wave: rng.choice((0, MINUTE_NANOS, 3 * MINUTE_NANOS, 60 * MINUTE_NANOS))
        for wave in range(len(waves))
        if rng.random() < 0.3
    }
    return Plan(tuple(waves), ticks, rng.choice((_LOG_PAGES_MAX, 3, 10, 30)))


@cache
def _defaults() -> Config:
    config = make_config(Path())
    return replace(config, receiver=ReceiverSettings(grpc=None, http=None), exporters=())


def ledger_config(folder: Path) -> Config:
    """The defaults on a ledger in `folder`; no ports and no backends."""
    config = _defaults()
    return replace(config, ledger=replace(config.ledger, url=f"sqlite:///{folder}/ledger.db"))


async def live(config: Config, clock: Clock, sender: Sender, plan: Plan, record: Record) -> LedgerError | None:
    """Start, send, look at the minutes, stop. Gives what the pipeline ended with, None for a clean end.

    While one wave is being committed the next gathers, and the writer goes on when the acknowledgements of the first
    are out: the same plan gives the same order of calls.
    """
    pipeline = Pipeline(config, clock=clock, tick_s=3600)
    try:
        await pipeline.start()
    except LedgerError as error:
        return error
    before: list[asyncio.Task[None]] = []
    sent: list[asyncio.Task[None]] = []
    failure: LedgerError | None = None
    try:
        await pipeline._writer.call(lambda ledger: _prepare(ledger, plan))
        await pipeline.tick()  # The pipeline's own first look is done then.
        gate = _Gate(pipeline)
        for number, wave in enumerate(plan.waves):
            before = sent
            sent = [asyncio.create_task(_send(pipeline, sender, request, record)) for request in wave]
            await asyncio.sleep(0)  # They wait for the commit that runs, or will be counted for the next.
            gate.hold_next()
            await asyncio.gather(*before)
            await gate.let_one_pass(sent)
            if number in plan.tick_after:
                gate.open()
                await asyncio.gather(*sent)
                clock.now += plan.tick_after[number]
                await pipeline.tick()
                record.mark(await pipeline._writer.call(_told))
                gate.shut()
        gate.open()
        await asyncio.gather(*sent)
    except LedgerError as error:
        failure = error
        ends = await asyncio.gather(*before, *sent, return_exceptions=True) if sent else []
        assert all(end is None or isinstance(end, LedgerError) for end in ends), ends
    await pipeline.stop()
    return failure or pipeline.failure


async def _send(pipeline: Pipeline, sender: Sender, request: tuple[int, ...], record: Record) -> None:
    record.mark(Begun(request))
    await pipeline.accountant.account(sender.body(request))
    record.mark(Acknowledged(request))


class _Gate:
    """Lets commits pass one by one."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._write = pipeline.counts.write
        self._may_pass = asyncio.Event()
        self._has_passed = asyncio.Event()
        self._is_open = False
        pipeline.counts.write = self._wait_and_write

    def hold_next(self) -> None:
        self._may_pass.clear()

    async def let_one_pass(self, sent: Iterable[asyncio.Task[None]]) -> None:
        """Returns when it has passed, or when these were answered without one."""
        self._has_passed.clear()
        self._may_pass.set()
        passing = asyncio.ensure_future(self._has_passed.wait())
        await asyncio.wait((passing, asyncio.gather(*sent, return_exceptions=True)), return_when="FIRST_COMPLETED")
        passing.cancel()

    def open(self) -> None:
        self._is_open = True
        self._may_pass.set()

    def shut(self) -> None:
        self._is_open = False
        self._may_pass.clear()

    async def _wait_and_write(self, commit: Commit) -> int:
        await self._may_pass.wait()
        if not self._is_open:
            self._may_pass.clear()
        self._has_passed.set()
        return await self._write(commit)


def _prepare(ledger: Ledger, plan: Plan) -> None:
    ledger._files.pages_max = plan.log_pages_max
    for pragma in plan.pragmas:
        ledger._sqlite.execute(f"PRAGMA {pragma}")


def _told(ledger: Ledger) -> Told:
    return Told(ledger.watermarks().published_before or 0, ledger.events_count_after(0))
