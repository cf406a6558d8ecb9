"""The agreement as plain values: what is covered, what fails, what is downtime, what is promised.

`config/` builds these from text; nothing here parses or defaults. The clauses named are those of docs/clauses.md.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum, IntEnum
from fractions import Fraction

from otel_sla.sla.months import EPOCH, MinuteRange

_MINUTE = timedelta(minutes=1)

# In the order in which a usable status is looked for: HTTP, then gRPC (clause 4).
HTTP_STATUS_KEYS = ("http.response.status_code", "http.status_code")
GRPC_STATUS_KEYS = (
    "rpc.grpc.status_code",
    "rpc.response.status_code",
    "rpc.status_code",
    "grpc.status_code",
    "rpc.connect_rpc.error_code",
)
STATUS_KEYS = HTTP_STATUS_KEYS + GRPC_STATUS_KEYS


class Outcome(IntEnum):
    """What became of one covered request (clause 4); the number is its column in the counts."""

    SUCCEEDED = 0
    FAILED = 1
    INVALID = 2


class Scope(Enum):
    """Where a condition's attribute stands."""

    RESOURCE = "resource"
    SPAN = "span"


class NoStatusCode(Enum):
    """Clause 4, rule 11: a request without a usable status code."""

    SPAN_STATUS = "span_status"  # It failed if its span bears an error, and succeeded if not.
    SUCCEEDED = "succeeded"  # It is valid and succeeded, with an error or without.
    INVALID = "invalid"  # It is no valid request, with an error or without.


class NoData(Enum):
    """Clause 6: what a minute without a valid request counts as, from the series' first minute with data on."""

    UP = "up"
    DOWN = "down"
    CARRY = "carry"


class Counting(Enum):
    """Clause 19: what an agreement is judged on."""

    REQUESTS = "requests"  # Each span counts as one request.
    ADJUSTED = "adjusted"  # Each span counts as the requests that its sampling threshold says it stands for.


class WhenAbsent(Enum):
    """Clause 4: a failing HTTP status on a span that lacks the code attribute."""

    FAILED = "failed"
    SUCCEEDED = "succeeded"


@dataclass(frozen=True, slots=True)
class Condition:
    """One attribute's text matches any of `patterns`: exact, or a glob of `*` and `?` over the whole value."""

    scope: Scope
    key: str
    patterns: tuple[str, ...]


Selector = tuple[Condition, ...]  # Holds if every condition holds; the empty one holds always.


@dataclass(frozen=True, slots=True)
class CodeRule:
    """The contract's strict reading: another code beside a failing status spares the request (clause 4)."""

    attribute: str  # Key of a span attribute.
    values: tuple[str, ...]  # Compared with the attribute's text, exactly.
    when_absent: WhenAbsent


@dataclass(frozen=True, slots=True)
class DowntimeTerms:
    """Clauses 5 to 7."""

    error_rate_above: Fraction  # In [0, 1]. Strictly above it is downtime.
    valid_requests_min: int  # Requests, at least 1. A minute with fewer is low traffic.
    period_minutes_min: int  # Minutes, at least 1. A shorter run is no downtime period.
    no_data: NoData


class ExclusionReason(Enum):
    """Clause 12."""

    SCHEDULED_MAINTENANCE = "scheduled_maintenance"
    FORCE_MAJEURE = "force_majeure"
    NETWORK_OR_DEVICE_OUTSIDE = "network_or_device_outside"
    THIRD_PARTY = "third_party"
    UNADVISED_USE = "unadvised_use"
    PRE_RELEASE_FEATURE = "pre_release_feature"
    UNSUPPORTED_CONFIGURATION = "unsupported_configuration"
    NOT_COVERED = "not_covered"


@dataclass(frozen=True, slots=True)
class ExclusionWindow:
    """Clause 13: `[start, stop)` does not count as downtime, if `reason`'s conditions are met."""

    reason: ExclusionReason
    start: datetime  # Aware.
    stop: datetime  # Aware, after start.
    group: tuple[tuple[str, str], ...] | None  # One series of the agreement by its group; None: all of it.
    announced_at: datetime | None  # Aware. Needed for scheduled maintenance (clause 14).
    note: str
    recorded_by: str
    recorded_at: datetime | None  # Aware; None for a window from the configuration.
    minutes: MinuteRange = field(init=False, repr=False, compare=False)  # That it covers whole; may be none.

    def __post_init__(self) -> None:
        start_minute = -((EPOCH - self.start) // _MINUTE)
        stop_minute = (self.stop - EPOCH) // _MINUTE
        object.__setattr__(self, "minutes", MinuteRange(start_minute, max(start_minute, stop_minute)))


@dataclass(frozen=True, slots=True)
class ExclusionTerms:
    """Clauses 12 to 14: the notice that maintenance needs, and the windows that the configuration names."""

    notice_business_days_min: int
    holidays: tuple[date, ...]
    windows: tuple[ExclusionWindow, ...]


# Clause 4: the gRPC codes that say that the server is to blame; no other can fail.
SERVER_FAULT_NAMES = {
    2: "UNKNOWN",
    4: "DEADLINE_EXCEEDED",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    15: "DATA_LOSS",
}
SERVER_FAULT_GRPC_STATUS = frozenset(SERVER_FAULT_NAMES)

# Clause 4 as it was amended: a gRPC status beside an HTTP status below 400 decides. And clause 6: excluded minutes are
# not carried. Version 0.1.0 counted and judged by the first rules.
OUTCOME_RULES = 2
FIRST_RULES = 1


@dataclass(frozen=True, slots=True)
class Agreement:
    """One agreement; several in one pipeline each count for themselves."""

    name: str
    covered_service: Selector  # Clause 3.
    entry_spans_only: bool  # Clause 1.
    group_by: tuple[str, ...]  # Clause 3. Each distinct tuple of values is a series.
    invalid: tuple[Selector, ...]  # Clause 4, rule 1. Any that holds makes the request invalid.
    no_status_code: NoStatusCode
    failed_http_status: frozenset[int]  # Within 500 to 599.
    code: CodeRule | None
    downtime: DowntimeTerms
    target: Fraction  # In (0, 1]. The promised monthly uptime.
    time_zone: str  # IANA name. Months are local to it (clause 8).
    exclusions: ExclusionTerms
    failed: tuple[Selector, ...] = ()  # Clause 4, rule 2. Any that holds makes a valid request fail.
    failed_grpc_status: frozenset[int] = SERVER_FAULT_GRPC_STATUS  # Within SERVER_FAULT_GRPC_STATUS.
    counting: Counting = Counting.REQUESTS
    outcome_rules: int = OUTCOME_RULES  # Version of clause 4 that made the outcomes, and of clause 6 that judges.
    covered_any: tuple[Selector, ...] = ()  # Clause 3. Where there are any, one of them has to hold besides.

    @property
    def carries_excluded(self) -> bool:
        """Whether silence behind an excluded minute goes on as that minute: clause 6 before it was amended."""
        return self.outcome_rules == FIRST_RULES
