"""An agreement's terms in words: what a reader of its figures needs to know to check them.

The numbers are those of the clauses (docs/clauses.md).
"""

from collections.abc import Iterator

from otel_sla.sla.agreement import (
    Agreement,
    Condition,
    DowntimeTerms,
    NoData,
    NoStatusCode,
    Selector,
    WhenAbsent,
)
from otel_sla.sla.texts import term_percent_text

Term = tuple[str, str, str]  # Clauses, heading, what is agreed.


def each_term(agreement: Agreement) -> Iterator[Term]:
    """Go through the terms in the order of the clauses."""
    yield "1\u20133", "Covered service", _covered_service(agreement)
    yield "3", "Judged by itself", _grouping(agreement)
    yield "4", "Valid requests", _valid_requests(agreement)
    yield "4", "Failed requests", _failed_requests(agreement)
    yield "5", "Error rate", _error_rate(agreement.downtime)
    yield "6", "Minutes with few or no requests", _silence(agreement.downtime)
    yield "7", "Downtime period", _periods(agreement.downtime)
    yield "8", "Month", f"The calendar month in the time zone {agreement.time_zone}, with the minutes it really has."
    yield "9\u201311", "Promise", _promise(agreement)
    yield "12\u201314", "Exclusions", _exclusions(agreement)
    yield "19", "Counting", "Each span that was received counts as one request; sampled traces are not extrapolated."


def each_counting_term(agreement: Agreement) -> Iterator[Term]:
    """Go through the terms that say what is counted, and as what: those of clauses 1 to 4."""
    return (term for term in each_term(agreement) if term[0][0] in "1234" and not term[0][1:2].isdigit())


def _covered_service(agreement: Agreement) -> str:
    spans = "spans of kind SERVER"
    if agreement.entry_spans_only:
        spans += " that have no parent or a remote one"
    which = f" for which {selector_text(agreement.covered_service)}" if agreement.covered_service else ""
    return f"A request is one of the {spans}{which}. It belongs to the minute in which it ended."


def _grouping(agreement: Agreement) -> str:
    if not agreement.group_by:
        return "All requests are judged together."
    return f"Each distinct value of {_listed(agreement.group_by, 'and')}."


def _valid_requests(agreement: Agreement) -> str:
    said = "All but those that the client is to blame for: HTTP 400-499, and gRPC codes that do not count as failed."
    if agreement.no_status_code is NoStatusCode.INVALID:
        said += " Those without a status code that bear an error are not valid either."
    if agreement.invalid:
        said += f" Nor are those for which {'; or '.join(map(selector_text, agreement.invalid))}."
    return said


def _failed_requests(agreement: Agreement) -> str:
    said = f"HTTP {_status_ranges(agreement.failed_http_status)}"
    if agreement.code is not None:
        code = agreement.code
        said += f" if {code.attribute} is {_listed(code.values, 'or')}"
        said += " or absent" if code.when_absent is WhenAbsent.FAILED else ""
    said += "; gRPC UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE or DATA_LOSS"
    if agreement.no_status_code is NoStatusCode.SPAN_STATUS:
        said += "; without a status code, a span status ERROR or an error.type"
    return f"{said}."


def _error_rate(terms: DowntimeTerms) -> str:
    limit = term_percent_text(terms.error_rate_above)
    return (
        f"Failed requests of a minute divided by its valid ones. Above {limit} the minute is down; exactly {limit} is"
        " not above."
    )


def _silence(terms: DowntimeTerms) -> str:
    said = ""
    if terms.valid_requests_min > 1:
        said = f"A minute with fewer than {terms.valid_requests_min} valid requests is low traffic and no downtime. "
    return (
        said
        + {
            NoData.UP: "A minute without a valid request is no downtime.",
            NoData.DOWN: "A minute without a valid request is down, from the first one with data on.",
            NoData.CARRY: "A minute without a valid request is down if the last judged one was.",
        }[terms.no_data]
    )


def _periods(terms: DowntimeTerms) -> str:
    if terms.period_minutes_min == 1:
        return "One or more consecutive minutes that are down."
    return f"At least {terms.period_minutes_min} consecutive minutes that are down; the minutes of fewer count as up."


def _promise(agreement: Agreement) -> str:
    target = term_percent_text(agreement.target)
    return (
        f"At least {target} monthly uptime: the minutes of the whole month less those down, divided by the minutes"
        " of the whole month. Compared exactly; shown percentages are cut off, never rounded up."
    )


def _exclusions(agreement: Agreement) -> str:
    terms = agreement.exclusions
    said = "Minutes that an accepted window covers whole are no downtime; the minutes of the month stay the same."
    days = terms.notice_business_days_min
    if days:
        said += f" Scheduled maintenance has to be announced {days} business {'day' if days == 1 else 'days'} before."
    if terms.holidays:
        said += f" Holidays: {', '.join(day.isoformat() for day in terms.holidays)}."
    return said


def selector_text(selector: Selector) -> str:
    """Write a selector's conditions."""
    return " and ".join(map(_condition_text, selector)) or "nothing is asked"


def _condition_text(condition: Condition) -> str:
    return f"{condition.scope.value} {condition.key} is {_listed(condition.patterns, 'or')}"


def _listed(words: tuple[str, ...], last: str) -> str:
    quoted = [f"\u201c{word}\u201d" for word in words]
    return f" {last} ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def _status_ranges(statuses: frozenset[int]) -> str:
    ranges: list[list[int]] = []
    for status in sorted(statuses):
        if ranges and ranges[-1][1] == status - 1:
            ranges[-1][1] = status
        else:
            ranges.append([status, status])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges) or "no status"
