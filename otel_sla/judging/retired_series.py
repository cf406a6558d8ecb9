"""Series that are judged no more, and those that are again.

otel-sla 0.1.0 kept nowhere when it stopped judging a series, so that is found from what it did keep. It judged a series
while its agreement was configured and grouped as the series is. Terms that it recorded have the outcome rules 1; so an
agreement that was removed before this version ever ran is one whose last terms have them, and a former grouping is one
that such terms followed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from otel_sla.judging.series_judge import is_grouped, series_of
from otel_sla.ledger.agreement_json import agreement_of
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.sla.agreement import FIRST_RULES, Agreement, NoData
from otel_sla.sla.months import month_range, months_between
from otel_sla.sla.series import Series

_Versions = Sequence[tuple[Agreement, int]]  # Terms and the epoch minute from which they held, oldest first.


@dataclass(frozen=True, slots=True)
class Stopped:
    """When a series was judged last."""

    published_before: int  # Epoch minute; no minute from this one on was published.
    retired_minute: int  # First epoch minute whose silence is not judged: behind that, and behind its last request.


def find_stopped(
    reader: LedgerReadings,
    agreement: Agreement,
    all_series: Sequence[Series],
    retired: Mapping[int, int],
    published_version: int | None = None,
) -> dict[int, Stopped]:
    """Find the series of an agreement that 0.1.0 stopped judging and nobody retired yet, by their numbers.

    Args:
        reader: Its snapshot is the caller's.
        agreement: As it is configured; one that is configured no more, by its last terms.
        all_series: Of the ledger.
        retired: Those that are retired, by their numbers.
        published_version: Of the terms, the one that it is published by. Series that 0.1.0 stopped judging under it are
            found although later terms group as they are; None: they are not, as their silence is judged again.
    """
    versions = [
        (agreement_of(one.terms), one.since_minute)
        for one in reader.agreement_versions(agreement.name)
        if published_version is None or one.version <= published_version
    ]
    if not any(terms.outcome_rules == FIRST_RULES for terms, _ in versions):
        return {}
    last_terms = agreement if published_version is None else versions[-1][0]
    is_removed = agreement.outcome_rules == FIRST_RULES
    found: dict[int, Stopped] = {}
    removed_minute: int | None = None
    for series in series_of(agreement, all_series):
        if series.series_id in retired:
            continue
        regrouped_minute = None if is_grouped(series, last_terms) else _regrouped_minute(series, versions)
        if regrouped_minute is not None:
            last = reader.last_minute(series.series_id, regrouped_minute)
            retired_minute = regrouped_minute if last is None else last + 1
            found[series.series_id] = Stopped(regrouped_minute, retired_minute)
        elif is_removed:
            if removed_minute is None:
                removed_minute = _removed_minute(reader, agreement, all_series, versions)
            found[series.series_id] = Stopped(removed_minute, removed_minute)
    return found


def _regrouped_minute(series: Series, versions: _Versions) -> int | None:
    """Give the minute from which 0.1.0 grouped otherwise than the series is; None: it never did."""
    grouped = [number for number, (terms, _) in enumerate(versions) if is_grouped(series, terms)]
    if not grouped or grouped[-1] + 1 == len(versions):
        return None
    terms, since_minute = versions[grouped[-1] + 1]
    return since_minute if terms.outcome_rules == FIRST_RULES else None


def _removed_minute(
    reader: LedgerReadings, agreement: Agreement, all_series: Sequence[Series], versions: _Versions
) -> int:
    """Give the first minute of which nothing shows that the agreement was still configured in it.

    It was while any of its series was counted, in each minute that an event is of, and until the end of each month that
    was closed. Later silence may have been published as down, or not: the end of what was is moved rather than downtime
    invented.
    """
    found = versions[-1][1]
    first_minutes = reader.first_minutes()
    some = [series for series in series_of(agreement, all_series) if series.series_id in first_minutes]
    first_minute = min((first_minutes[series.series_id] for series in some), default=found)
    for month in months_between(first_minute, reader.watermarks().sealed_before or 0, agreement.time_zone):
        if reader.closed_versions(agreement.name, str(month)):
            found = max(found, month_range(month, agreement.time_zone).stop_minute)
    for series in some:
        last = reader.last_minute(series.series_id, found)
        found = found if last is None else last + 1
    last = reader.last_event_minute(agreement.name)
    return found if last is None else max(found, last + 1)


def find_returned(reader: LedgerReadings, agreements: Sequence[Agreement]) -> dict[str, int]:
    """Find the configured agreements whose silence is judged again, each with the minute that it was judged to.

    Those whose silence is never down are left out.
    """
    found: dict[str, int] = {}
    retired, all_series = reader.retired_minutes(), reader.series()
    for agreement in agreements:
        if agreement.downtime.no_data is not NoData.UP:
            of_agreement = (series for series in series_of(agreement, all_series) if is_grouped(series, agreement))
            minutes = [retired[series.series_id] for series in of_agreement if series.series_id in retired]
            if minutes:
                found[agreement.name] = min(minutes)
    return found
