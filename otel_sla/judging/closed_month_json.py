"""What a month was closed with, to JSON beside the event's attributes in the ledger, and back as a report.

A report judges a month by its counts. Once these are dropped (`ledger.retention`), it is made of this, which stays.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import starmap
from typing import Any, cast

import numpy as np

from otel_sla.errors import LedgerCorrupt
from otel_sla.judging.series_judge import is_grouped
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import ClosedMonth, Json
from otel_sla.report.document import ExclusionReport, SeriesReport, series_report
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.downtime import JudgedMinutes, MinuteState, is_state
from otel_sla.sla.exclusions import excluded_minutes
from otel_sla.sla.figures_text import term_text
from otel_sla.sla.months import MinuteRange, Month, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import DowntimePeriod, MonthFigures, SpanCounts

_STATE_BITS, _ADJUSTED_BITS = 4, 0b1111


def kept_of_month(figures: MonthFigures, judged: JudgedMinutes) -> Json:
    """Give what a report needs of a closed, whole month besides the attributes of its event, as JSON values."""
    part = judged.part(*figures.minutes)
    states = ((part.raw << _STATE_BITS) | part.adjusted).astype(np.uint8)
    periods = [
        [each.start_minute, each.stop_minute, each.minutes_in_month, each.excluded_minutes, each.valid, each.failed]
        for each in figures.downtime_periods
    ]
    return {
        "counts": list(figures.counts),
        "parts": figures.parts,
        "spans": [figures.spans.total, figures.spans.spared, figures.spans.sampled, figures.spans.thresholded],
        "periods": _compressed(json.dumps(periods, separators=(",", ":")).encode()),
        "states": _compressed(states.tobytes()),
    }


def closed_reports(
    reader: LedgerReadings, agreement: Agreement, month: Month, decided: Sequence[ExclusionReport]
) -> Iterator[SeriesReport]:
    """Make the reports of what the series of an agreement's month were closed with last.

    The snapshot is the caller's. `agreement` has the terms that closed the month, `decided` are its `decide_windows`.

    Raises:
        LedgerCorrupt: What was kept cannot be read.
    """
    minutes = month_range(month, agreement.time_zone)
    # In the order of revisions, so that each series' last closing holds.
    last = {closed.series_id: closed for closed in reader.closed_months(agreement.name, str(month))}
    for series in reader.series():
        if series.series_id in last:
            yield _closed_series(series, last[series.series_id], agreement, minutes, decided)


def has_later_exclusions(report: SeriesReport, minutes: MinuteRange, decided: Iterable[ExclusionReport]) -> bool:
    """Whether other minutes were excluded when the month was closed than by what is recorded now."""
    if report.states is None:
        return False
    accepted = (entry.window for entry in decided if entry.refusal is None)
    excluded = excluded_minutes(accepted, report.series.group_text, *minutes)
    return bool((excluded != is_state(report.states.adjusted, MinuteState.EXCLUDED)).any())


def _closed_series(
    series: Series, closed: ClosedMonth, agreement: Agreement, minutes: MinuteRange, decided: Iterable[ExclusionReport]
) -> SeriesReport:
    try:
        published = cast("Mapping[str, Any]", closed.figures["attributes"])
        kept = cast("Mapping[str, Any] | None", closed.figures.get("kept"))
        figures = _figures(published, kept, agreement, minutes)
        former = not is_grouped(series, agreement)
        if kept is None:
            return SeriesReport(series, figures, (), former=former, is_complete=False)
        # uint8[n_minutes], of two states each; ValueError if they are not so many.
        states = np.frombuffer(_expanded(kept["states"]), dtype=np.uint8).reshape(minutes.n_minutes)
        raw, adjusted = (states >> _STATE_BITS).astype(np.int8), (states & _ADJUSTED_BITS).astype(np.int8)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        where = f"series {series.series_id} of agreement {agreement.name}"
        raise LedgerCorrupt(f"what {closed.month} was closed with cannot be read ({where}): {error!r}") from error
    judged = JudgedMinutes(minutes.start_minute, raw, adjusted, unfiltered=raw)
    return replace(series_report(series, figures, judged, decided), former=former, states=judged)


def _figures(
    published: Mapping[str, Any], kept: Mapping[str, Any] | None, agreement: Agreement, minutes: MinuteRange
) -> MonthFigures:
    def number(name: str) -> int:
        return int(published[f"sla.month.{name}"])

    target = str(published["sla.month.target"])
    valid, failed, invalid = (number(f"requests.{name}") for name in ("valid", "failed", "invalid"))
    # Earlier versions counted each span as one request.
    counts, parts, spans = (valid - failed, failed, invalid), 1, SpanCounts(valid + invalid)
    periods: list[list[int]] = []
    if kept is not None:
        succeeded, failed, invalid = kept["counts"]
        counts, parts, spans = (succeeded, failed, invalid), kept["parts"], SpanCounts(*kept["spans"])
        periods = json.loads(_expanded(kept["periods"]))
    return MonthFigures(
        minutes=minutes,
        elapsed=minutes.n_minutes,
        up=number("up_minutes"),
        down=number("downtime_minutes"),
        excluded=number("excluded_minutes"),
        low_traffic=number("low_traffic_minutes"),
        no_data=number("no_data_minutes"),
        down_raw=number("raw_downtime_minutes"),
        with_data=number("data_minutes"),
        counts=counts,
        parts=parts,
        spans=spans,
        # Published with all its places, unless it has no end.
        target=agreement.target if term_text(agreement.target) == target else Fraction(target),
        downtime_periods=tuple(starmap(DowntimePeriod, periods)),
    )


def _compressed(data: bytes) -> str:
    """A series that flaps all month has ten thousand periods: 0.3 MB as they are."""
    return b64encode(zlib.compress(data)).decode("ascii")


def _expanded(text: str) -> bytes:
    return zlib.decompress(b64decode(text))
