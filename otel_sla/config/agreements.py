"""`agreements`: what is covered, what fails, what is downtime, what is promised."""

from collections import Counter
from datetime import datetime
from difflib import get_close_matches
from fractions import Fraction
from typing import Annotated, Self

from pydantic import AfterValidator, Field, PlainSerializer, WithJsonSchema, field_validator, model_validator

from otel_sla.config.parse import check_zone, settle_time
from otel_sla.config.section import (
    NOT_EMPTY,
    Date,
    GrpcStatuses,
    OneOrMore,
    PositiveInt,
    Ratio,
    Section,
    Statuses,
    Text,
    Time,
    build,
    rule_problems,
)
from otel_sla.config.yaml_file import Problem
from otel_sla.sla import agreement as domain
from otel_sla.sla.agreement import SERVER_FAULT_GRPC_STATUS, Counting, ExclusionReason, NoData, NoStatusCode, WhenAbsent

Patterns = Annotated[OneOrMore[str], NOT_EMPTY]
Zone = Annotated[str, AfterValidator(check_zone), WithJsonSchema({"type": "time zone"})]
# So alike are names with one wrong letter; service.name and service.namespace, which both are meant, are not.
_SLIP_RATIO_MIN = 0.9
_group_text = PlainSerializer(dict, return_type=dict[str, str])


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"must be printable text on one line, not {text!r}")
    return text


class Selector(Section):
    """Conditions on attributes; all must hold. A value is exact or a glob of `*` and `?`; of a list, any may match."""

    resource: dict[Text, Patterns] = Field(default={}, examples=["{service.name: [chat-*]}"])
    """Conditions on resource attributes."""
    span: dict[Text, Patterns] = Field(default={}, examples=["{http.route: /v1/*}"])
    """Conditions on span attributes."""

    def build(self) -> domain.Selector:
        """Give the plain value."""
        scopes = ((domain.Scope.RESOURCE, self.resource), (domain.Scope.SPAN, self.span))
        return tuple(
            domain.Condition(scope, key, patterns)
            for scope, conditions in scopes
            for key, patterns in conditions.items()
        )


class Rule(Selector):
    """Conditions that all must hold; at least one."""

    @model_validator(mode="after")
    def has_a_condition(self) -> Self:
        """An empty rule holds for every request, and so would decide all of them."""
        if not self.resource and not self.span:
            raise ValueError("needs a condition under resource or span; without one it would hold for every request")
        return self


class CoveredService(Selector):
    """Conditions on attributes; all must hold. A value is exact or a glob of `*` and `?`; of a list, any may match."""

    any: tuple[Rule, ...] = Field(
        default=(),
        examples=["[{resource: {deployment.environment.name: prod}}, {resource: {deployment.environment: prod}}]"],
    )
    """Where these are given, one of them has to hold besides: for what is said in several ways."""


class ValidRequests(Section):
    """Which covered requests count (clause 4)."""

    invalid: tuple[Rule, ...] = Field(default=(), examples=["[{span: {feature.stage: [alpha, beta]}}]"])
    """A request that any of these rules holds for is not valid: alpha and beta features, probes, tests."""
    no_status_code: NoStatusCode = NoStatusCode.SPAN_STATUS
    """What becomes of a request without a usable HTTP or gRPC status. `span_status`: it failed if its span has the
    status ERROR or an `error.type`, else it succeeded; `succeeded`: it succeeded; `invalid`: it does not count. The
    latter two with an error or without."""


class CodeRuleSection(Section):
    """The contract's strict reading: another code beside a failing HTTP status spares the request.

    It has succeeded then, and reports show how many were spared.
    """

    attribute: Text = Field(examples=["app.response.code"])
    """Key of the span attribute that holds the code: one that the application sets itself, to the code in its
    answer. `error.type` is not it: instrumentations set it to the HTTP status."""
    values: Annotated[OneOrMore[str], NOT_EMPTY] = Field(examples=['["Internal Error"]'])
    """Codes that fail, compared exactly."""
    when_absent: WhenAbsent = WhenAbsent.FAILED
    """What a request with a failing status and no such attribute did."""


class ErrorRate(Section):
    """Which valid requests failed (clause 4)."""

    failed_http_status: Statuses = Field(default=(frozenset(range(500, 600)),), examples=['["500"]'])
    """Statuses that fail, within 500 to 599: `5xx`, `500`, `500-504`, or a list of them."""
    code: CodeRuleSection | None = None
    """Code that must stand beside such an HTTP status."""
    failed_grpc_status: GrpcStatuses = Field(
        default=tuple(sorted(SERVER_FAULT_GRPC_STATUS)), examples=["[INTERNAL, UNAVAILABLE]"]
    )
    """gRPC codes that fail, by name or number: some of the six of the default, or none with `[]`. Those of the six
    that are left out succeed; any other code is not valid."""
    failed: tuple[Rule, ...] = Field(default=(), examples=['[{span: {graphql.response.has_errors: "true"}}]'])
    """A valid request that any of these rules holds for failed, whatever its status: answers that only look well."""


class Downtime(Section):
    """When a minute is downtime (clauses 5 to 7)."""

    error_rate_above: Ratio = Fraction(1, 20)
    """A minute is down if its error rate is strictly above this."""
    valid_requests_min: PositiveInt = Field(default=1, le=2**62)
    """A minute with fewer valid requests is not judged (`low_traffic`)."""
    period_minutes_min: PositiveInt = Field(default=1, le=44_640)
    """Fewer down minutes in a row are no downtime period and count as up."""
    no_data: NoData = NoData.UP
    """What a minute without a valid request counts as: `up`, `down`, or `carry`, the state of the last judged minute
    (clause 6)."""


class MonthlyUptime(Section):
    """What is promised (clauses 8 and 9)."""

    target: Ratio = Fraction(999, 1000)
    """Promised share of the month's minutes; above 0%."""
    time_zone: Zone = Field(default="UTC", examples=["Europe/Berlin"])
    """IANA time zone in which months begin and end. If it changes after a month was closed, the minutes between the
    zones' midnights are in no month or in two, which is logged."""

    @model_validator(mode="after")
    def target_is_above_zero(self) -> Self:
        """A promise of nothing cannot be broken."""
        if self.target == 0:
            raise rule_problems([(("target",), "must be above 0%")])
        return self


class ExclusionSection(Section):
    """Time that does not count as downtime (clause 13)."""

    reason: ExclusionReason
    """Why it does not count (clause 12)."""
    start: Time = Field(examples=["2026-11-06T20:00:00Z"])
    """Start (inclusive). Without an offset it is local to the agreement's time zone."""
    stop: Time = Field(examples=["2026-11-06T22:00:00Z"])
    """End (exclusive)."""
    announced_at: Time | None = Field(default=None, examples=["2026-11-02T09:00:00Z"])
    """When it was announced to customers; `scheduled_maintenance` needs it."""
    group: Annotated[dict[str, str], _group_text] | None = Field(default=None, examples=["{service.name: chat-1}"])
    """Only this series, by a value for each attribute of `group_by`, or of a former one; without it, all of them."""
    note: str = Field(default="", examples=["database upgrade"])
    """For people; shown in reports."""

    @model_validator(mode="after")
    def maintenance_is_announced(self) -> Self:
        """Without it nobody knows whether maintenance was announced in time (clause 14)."""
        if self.reason is ExclusionReason.SCHEDULED_MAINTENANCE and self.announced_at is None:
            message = "is required for scheduled_maintenance: notice is counted from it"
            raise rule_problems([(("announced_at",), message)])
        return self


class Exclusions(Section):
    """What is not held against the provider (clauses 12 to 15)."""

    notice_business_days_min: int = Field(default=3, ge=0, le=366)
    """Business days before its start by which maintenance must be announced."""
    holidays: OneOrMore[Date] = Field(default=(), examples=["[2026-12-25]"])
    """Days that are no business days, besides weekends."""
    windows: tuple[ExclusionSection, ...] = ()
    """Times that do not count as downtime."""


class AgreementSection(Section):
    """One agreement; several each count for themselves."""

    name: Annotated[Text, Field(max_length=200), AfterValidator(_one_line)] = Field(examples=["chat"])
    """Its name in reports, metrics and events. What is counted is kept under it."""
    covered_service: CoveredService = CoveredService()
    """Whose server spans are requests of this agreement; all by default (clause 3)."""
    entry_spans_only: bool = False
    """Count only spans without a parent or with a remote one, for meshes (clause 1)."""
    group_by: OneOrMore[Text] = ("service.name",)
    """Attributes whose values make a series, judged by itself; `[]` judges all together (clause 3)."""
    valid_requests: ValidRequests = ValidRequests()
    error_rate: ErrorRate = ErrorRate()
    counting: Counting = Counting.REQUESTS
    """What is judged. `requests`: each span counts as one request; `adjusted`: each counts as the requests that the
    sampling threshold in its tracestate (`ot=th:...`) says it stands for (clause 19)."""
    downtime: Downtime = Downtime()
    monthly_uptime: MonthlyUptime = MonthlyUptime()
    exclusions: Exclusions = Exclusions()

    @field_validator("group_by", mode="after")
    @classmethod
    def group_by_is_distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """An attribute cannot be two parts of one group."""
        repeated = [key for key, count in Counter(value).items() if count > 1]
        if repeated:
            raise ValueError(f"names {', '.join(map(repr, repeated))} more than once")
        ours = [key for key in value if key.startswith("sla.") or key == "log.record.uid"]
        if ours:
            raise ValueError(f"{ours[0]!r} is a name of ours, in figures and events")
        return value

    @model_validator(mode="after")
    def windows_fit_together(self) -> Self:
        """A window's times depend on the agreement's time zone; its group may be of a former `group_by`."""
        problems = [
            (("exclusions", "windows", index, *loc), message)
            for index, window in enumerate(self.exclusions.windows)
            for loc, message in self._window_problems(window)
        ]
        if problems:
            raise rule_problems(problems)
        return self

    def _window_problems(self, window: ExclusionSection) -> list[Problem]:
        problems: list[Problem] = []
        settled: dict[str, datetime] = {}
        for key in ("start", "stop", "announced_at"):
            time: datetime | None = getattr(window, key)
            if time is not None:
                try:
                    settled[key] = settle_time(time, self.monthly_uptime.time_zone)
                except ValueError as error:
                    problems.append(((key,), str(error)))
        if "start" in settled and "stop" in settled and settled["start"] >= settled["stop"]:
            start, stop = settled["start"].isoformat(), settled["stop"].isoformat()
            problems.append((("stop",), f"must be after start: {stop} is not after {start}"))
        # Slips of the pen. Other keys may be those of a former grouping, which the ledger knows (clause 22).
        group = window.group or {}
        absent = [key for key in self.group_by if key not in group]
        for key in group:
            if key not in self.group_by and (near := get_close_matches(key, absent, n=1, cutoff=_SLIP_RATIO_MIN)):
                message = f"is no attribute of group_by ({', '.join(self.group_by)}); did you mean {near[0]!r}?"
                problems.append((("group", key), message))
        return problems

    def build(self) -> domain.Agreement:
        """Give the plain value."""
        return build(
            domain.Agreement,
            self,
            self.valid_requests,
            self.error_rate,
            self.monthly_uptime,
            covered_service=self.covered_service.build(),
            covered_any=tuple(rule.build() for rule in self.covered_service.any),
            invalid=tuple(rule.build() for rule in self.valid_requests.invalid),
            failed_http_status=frozenset().union(*self.error_rate.failed_http_status),
            failed=tuple(rule.build() for rule in self.error_rate.failed),
            exclusions=build(
                domain.ExclusionTerms,
                self.exclusions,
                windows=tuple(self._build_window(window) for window in self.exclusions.windows),
            ),
        )

    def _build_window(self, window: ExclusionSection) -> domain.ExclusionWindow:
        zone, group = self.monthly_uptime.time_zone, window.group
        if group is not None and set(group) == set(self.group_by):  # Of a former grouping it stays as it is written.
            group = {key: group[key] for key in self.group_by}
        return build(
            domain.ExclusionWindow,
            window,
            start=settle_time(window.start, zone),
            stop=settle_time(window.stop, zone),
            announced_at=None if window.announced_at is None else settle_time(window.announced_at, zone),
            group=None if group is None else tuple(group.items()),
            recorded_by="configuration",
            recorded_at=None,
        )
