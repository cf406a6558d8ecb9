"""The composition root: builds the rooms from the configuration, starts them and stops them.

It decides only the order: the ledger is open before a port is, the ports are closed before the ledger is.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import disk_usage

from otel_sla.config import Config
from otel_sla.counting.accountant import Accountant
from otel_sla.counting.counter import RequestCounter
from otel_sla.counting.kernels import warm_up
from otel_sla.counting.received import ReceivedCounts
from otel_sla.counting.span_times import SpanTimes
from otel_sla.errors import LedgerError
from otel_sla.exporter.backlog import LedgerBacklog
from otel_sla.exporter.debug import DebugSender
from otel_sla.exporter.delivery import Delivery, ScheduledDelivery
from otel_sla.exporter.notification import NotificationDelivery, NotificationSender
from otel_sla.exporter.otlp import OtlpSender
from otel_sla.exporter.otlp_data import AGREEMENT_NAME
from otel_sla.exporter.own_metrics import OwnMetricsExport
from otel_sla.exporter.settings import DebugSettings
from otel_sla.judging.changed_terms import record_terms
from otel_sla.judging.clock import AHEAD_HINT, CatchingUp, Clock, JudgingClock, TrustedClock, since_minute
from otel_sla.judging.judge import Judge
from otel_sla.judging.tidying import Tidier
from otel_sla.ledger.connection import sqlite_warning
from otel_sla.ledger.faults import unforeseen
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, Commit
from otel_sla.ledger.threads import LedgerThread, Writer
from otel_sla.ledger.write_ahead_log import log_path
from otel_sla.ledger.writer import Ledger
from otel_sla.page.live import LiveState
from otel_sla.page.process import PageProcess, read_live_minutes
from otel_sla.page.settings import PageTask
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.servers import Servers
from otel_sla.self_metrics import ExporterCounts, SelfMetrics
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.figures_text import counted
from otel_sla.sla.series import SeriesTable

_log = logging.getLogger(__name__)

TICK_S = 1.0
STOP_GRACE_S = 5.0  # For requests under way.
OWN_METRICS_STOP_S = 2.0  # For our own last metrics.
JUDGE_S = 8.0  # From the start of stopping, for minutes that wait to be judged; the next start goes on with them.
DRAIN_S = 10.0  # For events and figures that wait to be delivered.
_RING_MINUTES = 16
_OLDER_MINUTES = 7 * 24 * 60  # A start searches the newest minute of an agreement in these.


class Pipeline:
    """One running pipeline.

    Args:
        config: What the configuration says.
        clock: ns since the Unix epoch.
        tick_s: How often minutes are closed, seconds.
        steady: ns; a clock that nobody sets, to detect steps of `clock`. None: `clock` makes none.
    """

    accountant: Accountant  # From `start` on, as the next six.
    counts: ReceivedCounts
    _judging_clock: JudgingClock
    _judge: Judge
    _marked_before: int  # Epoch minute, as the next one; both as in the ledger.
    _published_before: int | None
    _times: SpanTimes

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock = time.time_ns,
        tick_s: float = TICK_S,
        steady: Clock | None = None,
    ) -> None:
        self._config = config
        self._clock, self._steady = clock, steady or clock
        self._trusted = TrustedClock(clock, self._steady)
        self._tick_s = tick_s
        self._writer: Writer = LedgerThread(
            "ledger", lambda: Ledger.open(config.ledger.url, may_create=config.ledger.may_create)
        )
        self._judge_thread = LedgerThread("judge", lambda: LedgerReader.open(config.ledger.url))
        self._tidier = Tidier(self._writer, config.ledger.retention_s, tick_s / 2)
        self._tick_lock = asyncio.Lock()
        self._not_ready_reason = "starting"
        self._deliveries: list[ScheduledDelivery] = []
        self._servers: Servers | None = None
        self.page: PageProcess | None = None
        self._ticking: asyncio.Task[None] | None = None
        self.metrics = SelfMetrics(clock)
        self._own_metrics: OwnMetricsExport | None = None
        self._reader: LedgerReader | None = None
        self.failure: LedgerError | None = None  # While stopping: something did not become durable or was not judged.
        self._was_serving = False

    @property
    def grpc_port(self) -> int | None:
        """The port of gRPC; None: it is not served."""
        return None if self._servers is None else self._servers.grpc_port

    @property
    def http_port(self) -> int | None:
        """The port of HTTP; None: it is not served."""
        return None if self._servers is None else self._servers.http_port

    async def start(self) -> None:
        """Open the ledger, then the ports; serving when this returns.

        Raises:
            OtelSlaError: A stage cannot start; what had been started is stopped.
        """
        try:
            await self._writer.open()
            await self._judge_thread.open()
            await self._start_counting()
            await self._start_exporters()
            self._servers = Servers(self._config.receiver, self.accountant, self.metrics, self.readiness)
            await self._servers.start()
            if self._config.page is not None:
                self.page = PageProcess(self._config.page, self._page_task, self._live_state)
                await self.page.start()
        except BaseException:
            await self.stop()
            raise
        self._ticking = asyncio.create_task(self._tick_for_ever())
        self._not_ready_reason = ""
        self._servers.publish_state()
        self._was_serving = True
        _log.info(
            "serving: gRPC %s, HTTP %s, page %s, ledger %s, %s, exporters %s",
            self.grpc_port or "off",
            self.http_port or "off",
            (self.page and self.page.url) or "off",
            self._config.ledger.url,
            counted(len(self._config.agreements), "agreement"),
            ", ".join(each.name for each in (*self._config.exporters, *self._config.notifications)),
            extra={"action": "serving"},
        )
        if warning := sqlite_warning():
            _log.info("%s", warning, extra={"action": "sqlite_version"})

    def reload(self) -> None:
        """Read certificates and tokens again; does nothing before the start, which reads them."""
        _log.info("certificates and tokens are read again", extra={"action": "reloading"})
        if self._servers is not None:
            self._servers.reload()
        if self.page is not None:
            self.page.reload()

    async def failed(self) -> LedgerError:
        """Wait until the ledger cannot be written or read, and give the error."""
        assert self._ticking is not None, "the pipeline was started"
        failure = self.accountant.failure
        await asyncio.wait((failure, self._ticking), return_when=asyncio.FIRST_COMPLETED)
        self._not_ready_reason = "the ledger failed"
        error = failure.result() if failure.done() else self._ticking.exception()
        cause = unforeseen(error)
        _log.error("stopping: %s", cause, extra={"action": "ledger_failed"})
        return cause

    def readiness(self) -> Readiness:
        """Whether requests are welcome, and if not, why."""
        reason = self._not_ready_reason
        if not reason and self.accountant.is_stalled:
            reason = "the ledger does not finish a write"
        if reason := reason or self._judging_clock.why_ahead():
            return Readiness(reason)
        return Readiness(notice=self._judging_clock.why_judging_waits() or self._times.why_clocks_differ())

    async def tick(self) -> None:
        """Judge and close the minutes that are old enough, and wake the exporters.

        Raises:
            LedgerError: The ledger cannot be written or read.
        """
        async with self._tick_lock:
            progress = self._judging_clock.progress()
            # All that was accepted by an earlier bound is durable before the minute counts as sealed.
            await self.accountant.settle()
            if progress.judged_before > self._marked_before:
                await self._close(Closing(judged_before=progress.judged_before, sealed_before=None))
                self._marked_before = progress.judged_before
            # Changes of the past first, each alone. New minutes once: spans that come late meanwhile wait for the next.
            catching_up = CatchingUp(progress.judged_before)
            while (closing := await self._judge_thread.call(lambda _: self._judge.find(progress))) is not None:
                await self._close(closing)
                for delivery in self._deliveries:
                    delivery.wake()
                if closing.published_before is not None:
                    self._published_before = closing.published_before
                    if catching_up.is_there(closing.published_before):
                        break
            self.counts.hints.log_spared(progress.judged_before)
            await self._tidier.tidy(progress)

    async def stop(self) -> None:
        """Close the ports, finish what was taken, deliver what can be delivered; safe at any time, also twice."""
        self._not_ready_reason = "stopping"
        giving_up = asyncio.get_running_loop().call_later(JUDGE_S, self._judge_thread.give_up)
        if self._servers is not None:
            await self._servers.stop(STOP_GRACE_S)
        if self.page is not None:
            await self.page.stop()
        if self._ticking is not None:
            ticking, self._ticking = self._ticking, None
            ticking.cancel()
            await asyncio.wait((ticking,))
            try:
                await self.tick()
            except Exception as error:  # noqa: BLE001 - whatever this is, the rest has to be stopped.
                self.failure = unforeseen(error)
        deliveries, self._deliveries = self._deliveries, []
        await asyncio.gather(*(delivery.drain(DRAIN_S) for delivery in deliveries))
        if self._own_metrics is not None:
            own_metrics, self._own_metrics = self._own_metrics, None
            await own_metrics.close(OWN_METRICS_STOP_S)
        giving_up.cancel()
        await self._judge_thread.close()
        if self._reader is not None:
            self._reader.close()  # Before the writer: the last one to close moves the log into the file.
            self._reader = None
        try:
            await self._writer.close()
        except LedgerError as error:
            _log.error("%s: %s", error, error.hint, extra={"action": "left_in_log"})
            self.failure = self.failure or error
        if self._was_serving:
            self._was_serving = False
            totals = ", ".join(f"{name} {value}" for name, value in self.metrics.totals().items())
            _log.info("stopped: %s", totals, extra={"action": "stopped"})

    async def _start_counting(self) -> None:
        agreements, processor = self._config.agreements, self._config.processor
        reader = self._reader = LedgerReader.open(self._config.ledger.url)
        marks = reader.watermarks()
        self._marked_before, self._published_before = marks.judged_before or 0, marks.published_before
        self._judging_clock = JudgingClock(processor, self._trusted.latest, self._trusted, marks)
        if reason := self._judging_clock.ahead_at_start():
            _log.warning("%s: %s", reason, AHEAD_HINT % reader.path, extra={"action": "ledger_ahead"})
        table = SeriesTable(agreements, series_max=processor.series_max, known=reader.series())
        counter = RequestCounter(
            agreements, table, minutes_kept=_RING_MINUTES, fingerprint_seed=reader.fingerprint_seed
        )
        newest = self._judging_clock.newest_minute()
        newest_rows = reader.counts(newest - _RING_MINUTES + 1, newest + 1)
        counter.ring.load(newest_rows, start_minute=newest - _RING_MINUTES + 1)
        names = [agreement.name for agreement in agreements]
        self._times = SpanTimes(names, table, self._clock, self._steady, processor.future_spans_max_s)
        self._times.load(newest_rows)
        self._times.load_older(partial(reader.last_minute, from_minute=max(0, newest - _OLDER_MINUTES)))
        self._register_metrics(table, reader.path)
        await warm_up(counter.classifier)
        judge_reader = await self._judge_thread.call(lambda connection: connection)
        since, now_minute = since_minute(marks, self._judging_clock), self._trusted() // NANOS_PER_MINUTE
        recorded = await self._writer.call(lambda ledger: record_terms(ledger, agreements, since, now_minute))
        self._versions, self._judged = recorded.versions, (*agreements, *recorded.removed)
        self._judge = Judge(judge_reader, agreements, recorded.versions, recorded.removed)
        self.counts = ReceivedCounts(
            counter,
            reader=reader,
            write=self._commit,
            window=self._judging_clock.window,
            metrics=self.metrics,
            times=self._times,
        )
        self.accountant = Accountant(self.counts, self.metrics)

    def _register_metrics(self, table: SeriesTable, path: Path) -> None:
        register, times = self.metrics.register, self._times
        register("sla.ledger.series", lambda: len(table))
        files: dict[str, Callable[[], int]] = {
            "sla.ledger.size": lambda: path.stat().st_size,
            "sla.ledger.log_size": lambda: log_path(path).stat().st_size,
            "sla.ledger.disk_free": lambda: disk_usage(path).free,
            "sla.ledger.disk_size": lambda: disk_usage(path).total,
        }
        for name, read in files.items():
            register(name, partial(_unless_gone, read))
        register("sla.pipeline.ready", lambda: int(not self.readiness().reason))
        register("sla.judge.lag", partial(_unless_gone, self._judging_lag_s))
        register("sla.receiver.clock_lead", times.lead_s)
        for agreement in self._config.agreements:
            attributes = {AGREEMENT_NAME: agreement.name}
            register("sla.agreement.last_span_timestamp", partial(times.newest_unix_s, agreement.name), attributes)

    def _judging_lag_s(self) -> int | None:
        come_to = self._published_before
        if come_to is None and self._reader is not None:  # Nothing was ever judged: all that is counted waits.
            come_to = min(self._reader.first_minutes().values(), default=None)
        return None if come_to is None else self._judging_clock.lag_s(come_to)

    async def _start_exporters(self) -> None:
        instance_id = await self._writer.call(lambda ledger: ledger.instance_id)
        for settings in self._config.exporters:
            sender: DebugSender | OtlpSender
            if isinstance(settings, DebugSettings):
                sender = DebugSender(settings.name)
            else:
                sender = OtlpSender(settings, instance_id)
            counts = ExporterCounts()
            backlog = self._backlog(settings.name)
            await self._start_delivery(
                settings.name, Delivery(settings.name, sender, backlog, settings.interval_s, counts), counts
            )
        for target in self._config.notifications:
            public_url = self._config.page.public_url if self._config.page else None
            notifier = NotificationSender(target, self._judged, public_url)
            counts = ExporterCounts()
            backlog = self._backlog(target.name, is_for_people=True)
            await self._start_delivery(
                target.name, NotificationDelivery(target.name, notifier, backlog, target.interval_s, counts), counts
            )
        if self._config.metrics is not None:
            exporter, interval_s = self._config.metrics.exporter, self._config.metrics.interval_s
            own_sender = OtlpSender(exporter, instance_id)
            self._own_metrics = OwnMetricsExport(exporter.name, own_sender, self.metrics.read, interval_s)
            attributes = {"exporter": exporter.name, "data_type": "own_metrics"}
            self.metrics.register_attempts(self._own_metrics.counts, attributes)
            self._own_metrics.start()

    def _backlog(self, name: str, *, is_for_people: bool = False) -> LedgerBacklog:
        return LedgerBacklog(
            name,
            self._config.ledger.url,
            self._judged,
            self._writer,
            first_minutes_max=round(self._config.processor.late_spans_max_s) // 60,
            is_for_people=is_for_people,
            on_damage=self.accountant.fail,
        )

    async def _start_delivery(self, name: str, delivery: ScheduledDelivery, counts: ExporterCounts) -> None:
        self.metrics.register_exporter(name, counts)
        self._deliveries.append(delivery)  # Before its start: a start that fails has begun something to close.
        await delivery.start()

    def _page_task(self, listening: tuple[int, ...]) -> PageTask:
        config = self._config
        assert config.page is not None, "it is served"
        return PageTask(
            settings=config.page,
            listening=listening,
            ledger_url=config.ledger.url,
            agreements=config.agreements,
            grace_s=config.processor.grace_s,
            receivers=self._receivers(),
            logs=config.logs,
        )

    def _receivers(self) -> tuple[str, ...]:
        grpc, http = self._config.receiver.grpc, self._config.receiver.http
        found = []
        if grpc is not None:
            found.append(f"OTLP/gRPC: {grpc.endpoint.rpartition(':')[0]}:{self.grpc_port}")
        if http is not None:
            host = f"{'https' if http.tls else 'http'}://{http.endpoint.rpartition(':')[0]}:{self.http_port}"
            found.append(f"OTLP/HTTP: {host}{http.traces_url_path}")
        return tuple(found)

    def _live_state(self) -> LiveState:
        now = self._trusted()
        names = [agreement.name for agreement in self._config.agreements]
        return LiveState(
            minutes=read_live_minutes(self.counts.counter.ring, now // NANOS_PER_MINUTE),
            now_unix_nano=now,
            readiness=self.readiness(),
            newest_span_unix_s={name: self._times.newest_unix_s(name) for name in names},
            points=self.metrics.points(),
        )

    async def _commit(self, commit: Commit) -> int:
        counted = replace(commit, versions=self._versions)
        return await self._writer.call(lambda ledger: ledger.commit(counted))

    async def _close(self, closing: Closing) -> None:
        await self._writer.call(lambda ledger: ledger.close_minutes(closing))

    async def _tick_for_ever(self) -> None:
        while True:
            await self.tick()
            await asyncio.sleep(self._tick_s)


def _unless_gone(read: Callable[[], int | None]) -> int | None:
    try:
        return read()
    except (OSError, LedgerError):  # The file is gone, or damaged, with which the next write fails.
        return None
