"""The composition root: builds the stages from the configuration, starts them and stops them.

Nothing is decided here but the order: the ledger is open before a port is, the ports are closed before the ledger is.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from otel_sla.config import Config
from otel_sla.counting.accountant import Accountant
from otel_sla.counting.classify.classifier import Classifier
from otel_sla.counting.kernels import new_hash_key, warm_up
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.counting.repeats.filter_loading import FilterLoading
from otel_sla.counting.span_times import SpanTimes
from otel_sla.errors import LedgerError
from otel_sla.exporter.backlog import LedgerBacklog
from otel_sla.exporter.debug import DebugSender
from otel_sla.exporter.delivery import Delivery
from otel_sla.exporter.otlp import OtlpSender
from otel_sla.exporter.otlp_data import AGREEMENT_NAME
from otel_sla.exporter.own_metrics import TelemetryExport
from otel_sla.exporter.settings import DebugSettings, ExporterSettings
from otel_sla.judging.clock import AHEAD_HINT, CatchingUp, Clock, JudgingClock, TrustedClock, since_minute
from otel_sla.judging.judge import Judge
from otel_sla.judging.stopped_series import find_returned
from otel_sla.judging.terms_versions import Recorded, record_versions
from otel_sla.judging.tidying import Tidier
from otel_sla.ledger.connection import sqlite_warning
from otel_sla.ledger.faults import unforeseen
from otel_sla.ledger.ledger_files import register_ledger_files
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, Commit, Watermarks
from otel_sla.ledger.threads import LedgerThread, Writer
from otel_sla.ledger.writer import Ledger
from otel_sla.receiver.front import Front
from otel_sla.receiver.responses import Readiness
from otel_sla.self_metrics import ExporterCounts, SelfMetrics
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.exclusions import windows_of_no_series
from otel_sla.sla.figures_text import counted, minute_text, moment_text
from otel_sla.sla.series import SeriesTable

_log = logging.getLogger(__name__)

TICK_S = 1.0
STOP_GRACE_S = 5.0  # For requests under way.
TELEMETRY_STOP_S = 2.0  # For our own last figures.
JUDGE_S = 8.0  # From the start of stopping, for what has not been judged yet; the next start goes on with it.
DRAIN_S = 10.0  # For what the backends have not got yet.
_RING_MINUTES = 16
_OLDER_MINUTES = 7 * 24 * 60  # So far back a start looks for the newest minute of an agreement.


class Pipeline:
    """One running pipeline.

    Args:
        config: What the configuration says.
        clock: ns since the Unix epoch.
        tick_s: How often minutes are closed, seconds.
        steady: ns; a clock that nobody sets, to tell steps of `clock` from the passing of time. None: it makes none.
    """

    accountant: Accountant  # From `start` on, as the next five.
    _clockwork: JudgingClock
    _closer: Judge
    _marked_before: int  # Epoch minute: the ledger's judged_before.
    _told_before: int | None  # Epoch minute, as in the ledger.
    _times: SpanTimes
    _versions: dict[str, int]  # Of the agreements' terms in the ledger, by name.
    _judged: tuple[Agreement, ...]  # Those that are configured, and those that were.

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock = time.time_ns,
        tick_s: float = TICK_S,
        steady: Clock | None = None,
    ) -> None:
        self._config = config
        trusted = None if steady is None else TrustedClock(clock, steady)
        self._trusted, self._latest = (clock, clock) if trusted is None else (trusted, trusted.latest)
        self._clock, self._steady = clock, steady or clock
        self._tick_s = tick_s
        self._writer: Writer = LedgerThread(
            "ledger", lambda: Ledger.open(config.ledger.url, may_create=config.ledger.may_create)
        )
        self._judge = LedgerThread("judge", lambda: LedgerReader.open(config.ledger.url))
        self._tidier = Tidier(self._writer, config.ledger.retention_s, tick_s / 2)
        self._tick_lock = asyncio.Lock()
        self._not_ready_reason = "starting"
        self._deliveries: list[tuple[Delivery, LedgerBacklog]] = []
        self._front: Front | None = None
        self._ticking: asyncio.Task[None] | None = None
        self.metrics = SelfMetrics(clock)
        self._telemetry: TelemetryExport | None = None
        self._reader: LedgerReader | None = None
        self.filter_loading: FilterLoading | None = None
        self._failure: LedgerError | None = None
        self._was_serving = False

    @property
    def grpc_port(self) -> int | None:
        """Where gRPC is served; None: it is not."""
        return None if self._front is None else self._front.grpc_port

    @property
    def http_port(self) -> int | None:
        """Where HTTP is served; None: it is not."""
        return None if self._front is None else self._front.http_port

    async def start(self) -> None:
        """Open the ledger, then the ports; serving when this returns.

        Raises:
            OtelSlaError: A stage cannot start; what had been started is stopped.
        """
        try:
            await self._writer.open()
            await self._judge.open()
            await self._start_counting()
            await self._start_exporters()
            self._front = Front(
                self._config.receiver, self._config.logs, self.accountant, self.metrics, self._readiness
            )
            await self._front.start()
        except BaseException:
            await self.stop()
            raise
        self._ticking = asyncio.create_task(self._tick_for_ever())
        self._not_ready_reason = ""
        self._front.publish_state()
        self._was_serving = True
        _log.info(
            "serving: gRPC %s, HTTP %s, ledger %s, %s, exporters %s",
            self.grpc_port or "off",
            self.http_port or "off",
            self._config.ledger.url,
            counted(len(self._config.agreements), "agreement"),
            ", ".join(exporter.name for exporter in self._config.exporters),
            extra={"action": "serving"},
        )
        if warning := sqlite_warning():
            _log.info("%s", warning, extra={"action": "sqlite_version"})

    def reload(self) -> None:
        """Read certificates and tokens again now; before it serves, it will read them anyway."""
        _log.info("certificates and tokens are read again", extra={"action": "reloading"})
        if self._front is not None:
            self._front.reload()

    async def failed(self) -> LedgerError:
        """Wait until the pipeline cannot go on, and give why: the ledger could not be written or read."""
        assert self._ticking is not None, "the pipeline was started"
        failure = self.accountant.commits.failure
        await asyncio.wait((failure, self._ticking), return_when=asyncio.FIRST_COMPLETED)
        self._not_ready_reason = "the ledger failed"
        error = failure.result() if failure.done() else self._ticking.exception()
        cause = unforeseen(error)
        _log.error("stopping: %s", cause, extra={"action": "ledger_failed"})
        return cause

    def _why_not_ready(self) -> str:
        if self._not_ready_reason:
            return self._not_ready_reason
        return (
            "the ledger does not finish a write" if self.accountant.commits.is_stalled else self._clockwork.why_ahead()
        )

    def _readiness(self) -> Readiness:
        if reason := self._why_not_ready():
            return Readiness(reason)
        return Readiness(notice=self._clockwork.why_judging_waits() or self._times.why_clocks_differ())

    @property
    def failure(self) -> LedgerError | None:
        """What went wrong while stopping: not all that was taken became durable or was told."""
        return self._failure

    async def tick(self) -> None:
        """Close what has become old enough, and let the exporters know.

        Raises:
            LedgerError: The ledger cannot be written or read.
        """
        async with self._tick_lock:
            progress = self._clockwork.progress()
            # What was accepted by an earlier bound is durable before the minute counts as sealed.
            await self.accountant.commits.settle()
            if progress.judged_before > self._marked_before:
                await self._close(Closing(judged_before=progress.judged_before, sealed_before=None))
                self._marked_before = progress.judged_before
            # Changes of the past first, each alone. Then once: what comes late meanwhile waits for the next tick.
            catching_up = CatchingUp(progress.judged_before)
            while (closing := await self._judge.call(lambda _: self._closer.find(progress))) is not None:
                await self._close(closing)
                for delivery, _ in self._deliveries:
                    delivery.wake()
                if closing.told_before is not None:
                    self._told_before = closing.told_before
                    if catching_up.is_there(closing.told_before):
                        break
            self.accountant.spared.tell(progress.judged_before)
            await self._tidier.tidy(progress)

    async def stop(self) -> None:
        """Stop taking, make durable what was taken, deliver what can be delivered; safe to call at any time, twice."""
        self._not_ready_reason = "stopping"
        giving_up = asyncio.get_running_loop().call_later(JUDGE_S, self._judge.give_up)
        if self._front is not None:
            await self._front.stop(STOP_GRACE_S)
        if self._ticking is not None:
            ticking, self._ticking = self._ticking, None
            ticking.cancel()
            await asyncio.wait((ticking,))
            await self._tick_last()
        deliveries, self._deliveries = self._deliveries, []
        await asyncio.gather(*(delivery.drain(DRAIN_S) for delivery, _ in deliveries))
        for _, backlog in deliveries:
            await backlog.close()
        if self._telemetry is not None:
            telemetry, self._telemetry = self._telemetry, None
            await telemetry.close(TELEMETRY_STOP_S)
        giving_up.cancel()
        if self.filter_loading is not None:
            await self.filter_loading.close()
        await self._judge.close()
        if self._reader is not None:
            self._reader.close()  # Before the writer: the last one to close moves the log into the file.
            self._reader = None
        try:
            await self._writer.close()
        except LedgerError as error:
            _log.error("%s: %s", error, error.hint, extra={"action": "left_in_log"})
            self._failure = self._failure or error
        if self._was_serving:
            self._was_serving = False
            totals = ", ".join(f"{name} {value}" for name, value in self.metrics.totals().items())
            _log.info("stopped: %s", totals, extra={"action": "stopped"})
        self.metrics.close()

    async def _tick_last(self) -> None:
        """Make durable and tell what there is; whatever is wrong with it must not keep the rest from stopping."""
        try:
            await self.tick()
        except Exception as error:  # noqa: BLE001 - the rest has to be stopped, whatever this is.
            self._failure = unforeseen(error)

    async def _start_counting(self) -> None:
        agreements = self._config.agreements
        reader = self._reader = LedgerReader.open(self._config.ledger.url)
        marks = reader.watermarks()
        self._marked_before, self._told_before = marks.judged_before or 0, marks.told_before
        self._clockwork = JudgingClock(self._config.processor, self._latest, self._trusted, marks)
        if reason := self._clockwork.ahead_at_start():
            _log.warning("%s: %s", reason, AHEAD_HINT % reader.path, extra={"action": "ledger_ahead"})
        table = SeriesTable(agreements, series_max=self._config.processor.series_max, known=reader.series())
        classifier = Classifier(agreements, table, hash_key=new_hash_key())
        ring = MinuteRing(minutes_kept=_RING_MINUTES)
        newest = self._clockwork.newest_minute()
        newest_rows = reader.counts(newest - _RING_MINUTES + 1, newest + 1)
        ring.load(newest_rows, start_minute=newest - _RING_MINUTES + 1)
        self._times = SpanTimes(
            [agreement.name for agreement in agreements],
            table,
            self._clock,
            self._steady,
            self._config.processor.future_spans_max_s,
        )
        self._times.load(newest_rows)
        self._times.load_older(partial(reader.last_minute, from_minute=max(0, newest - _OLDER_MINUTES)))
        self._register_metrics(table, reader.path)
        await warm_up(classifier)
        judge_reader = await self._judge.call(lambda connection: connection)
        recorded = await self._record_versions(marks)
        _warn_of_windows(agreements, reader)
        self._versions, self._judged = recorded.versions, (*agreements, *recorded.removed)
        self._closer = Judge(judge_reader, agreements, recorded.versions, recorded.removed)
        self.accountant = Accountant(
            classifier=classifier,
            table=table,
            ring=ring,
            reader=reader,
            fingerprint_seed=reader.fingerprint_seed,
            write=self._commit,
            window=self._clockwork.window,
            metrics=self.metrics,
            times=self._times,
        )
        sealed_before = self._clockwork.window().sealed_before_minute
        self.filter_loading = FilterLoading(self._config.ledger.url, reader.path, self.accountant.filter, sealed_before)
        self.filter_loading.start()

    def _register_metrics(self, table: SeriesTable, path: Path) -> None:
        register, times = self.metrics.register, self._times
        register("sla.ledger.series", lambda: len(table))
        register_ledger_files(self.metrics, path)
        register("sla.pipeline.ready", lambda: int(not self._why_not_ready()))
        register("sla.judge.lag", self._judging_lag_s)
        register("sla.receiver.clock_lead", times.lead_s)
        for agreement in self._config.agreements:
            attributes = {AGREEMENT_NAME: agreement.name}
            register("sla.agreement.last_span_timestamp", partial(times.newest_unix_s, agreement.name), attributes)

    def _judging_lag_s(self) -> int | None:
        come_to = self._told_before
        if come_to is None and self._reader is not None:  # Nothing was ever judged: all that is counted waits.
            come_to = min(self._reader.first_minutes().values(), default=None)
        return None if come_to is None else self._clockwork.lag_s(come_to)

    async def _record_versions(self, marks: Watermarks) -> Recorded:
        """Keep the agreements' terms, so that what they counted and judged can be explained later."""
        since, agreements = since_minute(marks, self._clockwork), self._config.agreements
        recorded, series = await self._writer.call(
            lambda ledger: (record_versions(ledger, agreements, since), ledger.series())
        )
        have_counts = {each.agreement for each in series}  # A start that failed has recorded terms and counted nothing.
        for name in recorded.changed:
            _log.warning(
                "agreement %s: changed terms (version %d): months that are not closed are judged by them, as a whole",
                name,
                recorded.versions[name],
                extra={"action": "agreement_changed"},
            )
        for name in recorded.outcome_rules_changed:
            _log.warning(
                "agreement %s: spans that come from %s on are counted by the outcome rules of this otel-sla (version %d"
                " of the terms); what was counted before keeps the outcomes of the rules of its time",
                name,
                minute_text(self._trusted() // NANOS_PER_MINUTE),
                recorded.versions[name],
                extra={"action": "outcome_rules_changed"},
            )
        returned = await self._writer.call(lambda ledger: find_returned(ledger, agreements))
        for name, retired_minute in returned.items():
            if retired_minute < since:
                _log.warning(
                    "agreement %s is counted for again as it was until %s: the silence of the %s since then is judged"
                    " now, and months that were closed are closed again with it; exclude the time that it was away"
                    " (otel-sla exclusion add) if that is not agreed",
                    name,
                    minute_text(retired_minute),
                    counted(since - retired_minute, "minute"),
                    extra={"action": "agreement_returned"},
                )
        for agreement in recorded.removed:
            if agreement.name in have_counts:
                _log.info(
                    "agreement %s is no longer configured: its counts stay in the reports, judged by its last terms"
                    " (version %d)",
                    agreement.name,
                    recorded.versions[agreement.name],
                    extra={"action": "agreement_removed"},
                )
        return recorded

    async def _start_exporters(self) -> None:
        instance_id = await self._writer.call(lambda ledger: ledger.instance_id)
        for settings in self._config.exporters:
            backlog = LedgerBacklog(
                settings.name,
                self._config.ledger.url,
                self._judged,
                self._writer,
                first_minutes_max=round(self._config.processor.late_spans_max_s) // 60,
                on_damage=self.accountant.commits.fail,
            )
            await backlog.open()
            counts = ExporterCounts()
            self.metrics.register_exporter(settings.name, counts)
            delivery = Delivery(settings.name, make_sender(settings, instance_id), backlog, settings.interval_s, counts)
            self._deliveries.append((delivery, backlog))
            delivery.start()
        if self._config.metrics is not None:
            of_metrics = self._config.metrics
            name, sender = of_metrics.exporter.name, OtlpSender(of_metrics.exporter, instance_id)
            self._telemetry = TelemetryExport(name, sender, self.metrics.read, of_metrics.interval_s)
            self.metrics.register_attempts(self._telemetry.attempts, {"exporter": name, "data_type": "own_metrics"})
            self._telemetry.start()

    async def _commit(self, commit: Commit) -> int:
        counted = replace(commit, versions=self._versions)
        return await self._writer.call(lambda ledger: ledger.commit(counted))

    async def _close(self, closing: Closing) -> None:
        await self._writer.call(lambda ledger: ledger.close_minutes(closing))

    async def _tick_for_ever(self) -> None:
        while True:
            await self.tick()
            await asyncio.sleep(self._tick_s)


def _warn_of_windows(agreements: Sequence[Agreement], reader: LedgerReader) -> None:
    for agreement, window in windows_of_no_series(agreements, reader.series()):
        _log.warning(
            "agreement %s: the exclusion from %s on is of a group (%s) that neither group_by makes nor the ledger has"
            " of a former one: it excludes nothing",
            agreement.name,
            moment_text(window.start),
            ", ".join(f"{key}={value}" for key, value in window.group or ()) or "empty",
            extra={"action": "exclusion_of_no_series"},
        )


def make_sender(settings: ExporterSettings, instance_id: str) -> DebugSender | OtlpSender:
    """Give what sends for one configured exporter.

    Args:
        settings: What the configuration says.
        instance_id: The ledger's.

    Raises:
        ConfigError: The settings, or the environment where they are silent, cannot be used.
    """
    if isinstance(settings, DebugSettings):
        return DebugSender(settings.name)
    return OtlpSender(settings, instance_id)
