"""Puts a replay together: into the configured ledger, or into a private one that is gone afterwards.

A private ledger answers what an agreement would have said of recorded traffic: it is counted and judged by the same
code, and nothing of it stays.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from otel_sla.config import Config
from otel_sla.judging.clock import Clock, JudgingClock, since_minute
from otel_sla.judging.month_report import elapsed_stop_minute, load_report
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.writer import Ledger
from otel_sla.replay.counting import ReplayCounter
from otel_sla.report.document import Report
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.counts import AcceptWindow
from otel_sla.sla.months import Month, month_of


def start_counting(ledger: Ledger, config: Config, clock: Clock) -> ReplayCounter:
    """Prepare to count into a ledger by a configuration; `clock` gives ns since the Unix epoch."""
    watermarks = ledger.watermarks()
    judging_clock = JudgingClock(config.processor, clock, clock, watermarks)

    def window() -> AcceptWindow:
        # By the ledger's watermark, not the clock's: minutes that no pipeline has sealed still have fingerprints.
        return replace(judging_clock.window(), sealed_before_minute=watermarks.sealed_before or 0)

    return ReplayCounter(
        ledger,
        config.agreements,
        series_max=config.processor.series_max,
        window=window,
        since_minute=since_minute(watermarks, judging_clock),
    )


@contextmanager
def private_ledger() -> Iterator[Ledger]:
    """Give a new ledger that is gone afterwards.

    Raises:
        LedgerUnavailable: There is no room for it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="otel-sla-") as folder,
        closing(Ledger.open(f"sqlite:///{Path(folder).resolve()}/ledger.db")) as ledger,
    ):
        yield ledger


def each_report(
    ledger: LedgerReadings,
    config: Config,
    month: Month | None,
    days: Mapping[int, tuple[int, int]],
    generated_at: datetime | None = None,
) -> Iterator[Report]:
    """Judge a month; without one, all that requests were counted in (`ReplayCounter.days`), one by one.

    `generated_at` is only shown; None: now.
    """
    now = datetime.now(UTC)
    elapsed_stop = elapsed_stop_minute(now, timedelta(seconds=config.processor.grace_s))
    for each in [month] if month else months_found(config.agreements, days):
        yield load_report(ledger, config.agreements, each, elapsed_stop, generated_at or now)


def months_found(agreements: tuple[Agreement, ...], days: Mapping[int, tuple[int, int]]) -> list[Month]:
    """Give the months, local to any of the agreements, of the first and last minutes of days; oldest first."""
    zones = {agreement.time_zone for agreement in agreements}
    return sorted({month_of(minute, zone) for zone in zones for minutes in days.values() for minute in minutes})
