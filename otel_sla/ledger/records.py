"""The values that are written to the ledger and read back from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from otel_sla.sla.counts import NOTHING_BESIDE, Count, CountRows, CountsBeside
from otel_sla.sla.events import Event
from otel_sla.sla.series import Series

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """How much work the writer puts off, and how much of it a commit does; tests make them small."""

    log_pages_max: int = 1_000  # SQLite's own choice. A longer write-ahead log is moved into the file.
    held_pages_min: int = 65_536  # Pages of the log that a reader holds back, 256 MiB, before that is logged.
    fingerprints_due: int = 65_536  # In their log; remembering one takes 170 bytes.
    fingerprints_piece: int = 512  # Moved with a commit: an acknowledgement waits 1 ms for it.
    fingerprints_slice: int = 4_096  # Moved at once when a ledger is opened: 9 ms.


@dataclass(frozen=True, slots=True)
class Position:
    """How far a source with positions of its own (a replayed file, a topic's partition) has been counted."""

    source: str  # Identity of the source, such as a digest of the file.
    before: int | None  # What the writer believes the ledger holds; None: nothing yet.
    after: int  # What it will hold, in the source's own unit.


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction adds to the counts."""

    new_series: tuple[Series, ...]
    rows: CountRows  # Added to what the ledger holds.
    fingerprints: tuple[tuple[int, bytes], ...]  # (newest minute, 16 bytes), each never committed before.
    positions: tuple[Position, ...] = ()
    versions: Mapping[str, int] = field(default_factory=dict)  # By agreement: AgreementVersion that counted the rows.


@dataclass(frozen=True, slots=True)
class CountedDay:
    """Minutes of an agreement in one UTC day that were counted by one version of its terms."""

    version: int
    first_minute: int  # Epoch minute of the earliest one.
    last_minute: int  # Epoch minute of the latest one.
    is_derived: bool = False  # Of counts of an earlier otel-sla: derived from its versions, and of many days.


@dataclass(frozen=True, slots=True)
class Reopened:
    """A minute that got requests after it was judged, and what it held when it was judged."""

    series_id: int
    epoch_minute: int
    counts_before: tuple[int, int, int]  # Requests, columns as in agreement.Outcome.
    beside_before: CountsBeside = NOTHING_BESIDE


REOPENED_COLUMNS = ", ".join(["series_id", "epoch_minute", *(f"{count.name.lower()}_before" for count in Count)])


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """The figures that one series' month was closed with; a later revision does not replace them."""

    agreement: str
    series_id: int
    month: str  # `YYYY-MM`, local to the agreement.
    revision: int  # 0 for the first closing.
    version: int  # AgreementVersion that judged it.
    figures: Json
    closed_unix_nano: int


@dataclass(frozen=True, slots=True)
class Replacement:
    """Minutes of one series that were published and are judged otherwise now; their gauges are due once more."""

    series_id: int
    start_minute: int  # Epoch minute.
    stop_minute: int
    replacement_id: int = 0  # Given by the ledger; only grows.


@dataclass(frozen=True, slots=True)
class Closing:
    """What the judge decided in one pass; it becomes durable as a whole."""

    judged_before: int | None  # Epoch minute: later changes of an earlier one re-open it; None: unchanged.
    sealed_before: int | None  # Epoch minute; None: unchanged.
    events: tuple[Event, ...] = ()
    settled: tuple[Reopened, ...] = ()  # As published now: a minute that holds more by then stays re-opened.
    closed_months: tuple[ClosedMonth, ...] = ()
    exclusion_change: int | None = None  # Exclusion changes up to this one are in the verdicts.
    published_before: int | None = None  # Epoch minute: earlier ones are published; None: unchanged.
    replacements: tuple[Replacement, ...] = ()
    revisions: tuple[tuple[int, int], ...] = ()  # (series_id, number of revisions) where it grew.
    published_versions: tuple[tuple[str, int], ...] = ()  # (agreement, version) by which it is published now.
    retired: tuple[tuple[int, int | None], ...] = ()  # (series_id, epoch minute from which silence is not judged).


@dataclass(frozen=True, slots=True)
class Watermarks:
    """How far the judge has come."""

    judged_before: int | None  # Epoch minute. Earlier ones may have been published.
    sealed_before: int | None  # Epoch minute.
    exclusion_change: int  # Exclusion changes up to this one are in the verdicts; 0: none.
    published_before: int | None  # Epoch minute. Earlier ones were published; at most judged_before.
    expired_before: int = 0  # Epoch minute. Counts of earlier ones are dropped.


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event of the outbox; ids only grow, in the order of writing."""

    event_id: int
    event: Event


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one exporter has come."""

    event_id: int  # The last event that was delivered or set aside; 0: none.
    exported_before: int | None  # Epoch minute before which gauges were delivered.
    replacement_id: int = 0  # The last Replacement whose gauges were delivered again; 0: none.


@dataclass(frozen=True, slots=True)
class SetAside:
    """An event that the backend will never take."""

    event_id: int
    reason: str
    at_unix_nano: int


@dataclass(frozen=True, slots=True)
class RefusedPoints:
    """Points of figures that the backend will never take; the ledger and the reports still hold their minutes."""

    count: int
    first_minute: int  # Epoch minute of the earliest point.
    last_minute: int  # Epoch minute of the latest point.
    reason: str  # Of the last refusal.
    at_unix_nano: int  # Of the last refusal.


# From `reason` on as the fields of an ExclusionWindow.
EXCLUSION_COLUMNS = (
    "change, agreement, figures_before, reason, start, stop, group_values, announced_at, note, recorded_by, recorded_at"
)


@dataclass(frozen=True, slots=True)
class AgreementVersion:
    """The terms of an agreement as they were configured from some minute on."""

    agreement: str
    version: int  # From 1.
    terms: Json
    since_minute: int  # Epoch minute.
