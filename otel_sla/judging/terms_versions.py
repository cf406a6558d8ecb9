"""The versions of the terms: which one judges a month, and which ones counted it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from otel_sla.ledger.agreement_json import agreement_of, terms_of
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.writer import Ledger
from otel_sla.report.document import CountedBy
from otel_sla.sla.agreement import Agreement, Counting, DowntimeTerms, ExclusionTerms, NoData
from otel_sla.sla.months import MinuteRange, Month, month_of, month_range

_NO_DOWNTIME = DowntimeTerms(Fraction(1), 1, 1, NoData.UP)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The versions of the terms as they are now, by the agreement's name."""

    versions: dict[str, int]  # Those of agreements that are no longer configured, too.
    changed: tuple[str, ...]  # Those whose terms the ledger had otherwise, but for clause 4.
    outcome_rules_changed: tuple[str, ...]  # Those whose requests were counted by an earlier clause 4 so far.
    removed: tuple[Agreement, ...]  # Those that are no longer configured, by their last terms.


def record_versions(ledger: Ledger, agreements: Sequence[Agreement], since_minute: int) -> Recorded:
    """Keep the terms of each configured agreement in the ledger, from `since_minute` on where they are new."""
    versions: dict[str, int] = {}
    changed: list[str] = []
    outcome_rules_changed: list[str] = []
    for agreement in agreements:
        known = ledger.agreement_versions(agreement.name)
        versions[agreement.name] = ledger.record_agreement(agreement.name, terms_of(agreement), since_minute)
        if not known or known[-1].version == versions[agreement.name]:
            continue
        before = agreement_of(known[-1].terms)
        if before.outcome_rules != agreement.outcome_rules:
            outcome_rules_changed.append(agreement.name)
        is_carried = before.carries_excluded != agreement.carries_excluded and before.downtime.no_data is NoData.CARRY
        if is_carried or replace(before, outcome_rules=agreement.outcome_rules) != agreement:
            changed.append(agreement.name)
    removed = removed_agreements(ledger, agreements)
    for agreement in removed:
        versions[agreement.name] = ledger.agreement_versions(agreement.name)[-1].version
    return Recorded(versions, tuple(changed), tuple(outcome_rules_changed), removed)


def removed_agreements(reader: LedgerReadings, configured: Sequence[Agreement]) -> tuple[Agreement, ...]:
    """Give the agreements that are no longer configured, by their last terms (clause 22), in the order of their names.

    Raises:
        LedgerCorrupt: Their terms cannot be read.
    """
    names = {agreement.name for agreement in configured}
    return tuple(
        agreement_of(reader.agreement_versions(name)[-1].terms) for name in reader.agreements() if name not in names
    )


@dataclass(frozen=True, slots=True)
class Basis:
    """What a month is judged by."""

    agreement: Agreement
    version: int | None  # Its number in the ledger; None: the ledger does not have these terms.
    closed_version: int | None  # That the month was closed by; None: it is open, or was closed by unknown terms.
    configured: Agreement  # As it is now; what other months are judged by, if `is_as_configured`.
    is_as_configured: bool = False


def find_basis(reader: LedgerReadings, configured: Agreement, month: Month, *, as_configured: bool = False) -> Basis:
    """Find what a local month is judged by: the version that closed it; while it is open, what is configured.

    The snapshot is the caller's. With `as_configured`, a closed month is judged by what is configured, too.

    Raises:
        LedgerCorrupt: A version cannot be read.
    """
    versions = reader.agreement_versions(configured.name)
    known = {version.version: version for version in versions}
    held = reader.closed_versions(configured.name, str(month))
    closed_version = max((version for version in held.values() if version in known), default=None)
    if closed_version is not None and not as_configured:
        return Basis(agreement_of(known[closed_version].terms), closed_version, closed_version, configured)
    is_recorded = bool(versions) and versions[-1].terms == terms_of(configured)
    version = versions[-1].version if is_recorded else None
    return Basis(configured, version, closed_version, configured, as_configured)


def months_touched(
    agreement: Agreement, changed: MinuteRange, stop_minute: int, basis_of: Callable[[Month], Basis]
) -> Iterator[tuple[Month, Basis]]:
    """Go through the months that begin before `stop_minute` and whose figures something in `changed` may change."""
    # The neighbours, too: versions may have other time zones.
    month = month_of(changed.start_minute, agreement.time_zone).previous
    last = month_of(changed.stop_minute - 1, agreement.time_zone).next
    while month <= last and month_range(month, agreement.time_zone).start_minute < stop_minute:
        basis = basis_of(month)
        if is_touched(basis, month, changed):
            yield month, basis
        month = month.next


def is_touched(basis: Basis, month: Month, changed: MinuteRange) -> bool:
    """Whether minutes lie in a month, or so near it that a run across its edge may become too short, or long enough."""
    minutes, reach = month_range(month, basis.agreement.time_zone), basis.agreement.downtime.period_minutes_min - 1
    return changed.start_minute - reach < minutes.stop_minute and minutes.start_minute < changed.stop_minute + reach


def find_counted_by(reader: LedgerReadings, agreement: Agreement, minutes: MinuteRange) -> tuple[CountedBy, ...]:
    """Find which versions of an agreement's terms counted what of some minutes (clause 22), by their first minute.

    Versions that differ in judging alone count alike, and neighbours that do are one: the last of them.
    """
    terms = {one.version: agreement_of(one.terms) for one in reader.agreement_versions(agreement.name)}
    of_version: dict[int, CountedBy] = {}
    for day in reader.counted_days(agreement.name):
        first, stop = max(day.first_minute, minutes.start_minute), min(day.last_minute + 1, minutes.stop_minute)
        if first < stop:
            counted = CountedBy(terms[day.version], day.version, MinuteRange(first, stop), day.is_derived)
            of_version[day.version] = _united(of_version.get(day.version, counted), counted)
    found: list[CountedBy] = []
    for counted in sorted(of_version.values(), key=lambda one: (one.minutes.start_minute, one.version)):
        if found and counting_terms(found[-1].agreement) == counting_terms(counted.agreement):
            found[-1] = _united(found[-1], counted)
        else:
            found.append(counted)
    return tuple(found)


def _united(one: CountedBy, other: CountedBy) -> CountedBy:
    """Give the last version of two, with the minutes of both; how its start is known is how the earlier one's is."""
    starts, stops = zip(one.minutes, other.minutes, strict=True)
    earlier = min(one, other, key=lambda each: each.minutes.start_minute)
    last = max(one, other, key=lambda each: each.version)
    return replace(last, minutes=MinuteRange(min(starts), max(stops)), is_derived=earlier.is_derived)


def counting_terms(agreement: Agreement) -> Agreement:
    """Give the agreement with all that only judging reads set alike: equal for two that count alike."""
    return replace(
        agreement,
        downtime=_NO_DOWNTIME,
        target=Fraction(1),
        time_zone="UTC",
        exclusions=ExclusionTerms(0, (), ()),
        counting=Counting.REQUESTS,
    )
