"""An agreement's terms in words: what a reader of its figures needs to know to check them.

The numbers are those of the clauses (docs/clauses.md).
"""

from collections.abc import Iterator, Sequence

from otel_sla.sla.agreement import (
    FIRST_RULES,
    SERVER_FAULT_GRPC_STATUS,
    SERVER_FAULT_NAMES,
    Agreement,
    Counting,
    NoData,
    NoStatusCode,
    Selector,
    WhenAbsent,
)
from otel_sla.sla.figures_text import term_percent_text

Term = tuple[str, str, str]  # Clauses, heading, what is agreed.


def each_term(agreement: Agreement) -> Iterator[Term]:
    """Go through the terms in the order of the clauses."""
    yield from each_counting_term(agreement)
    limit, minutes = term_percent_text(agreement.downtime.error_rate_above), agreement.downtime.period_minutes_min
    rate = f"Failed requests of a minute divided by its valid ones. Above {limit} the minute is down; exactly {limit}"
    yield "5", "Error rate", f"{rate} is not above."
    yield "6", "Minutes with few or no requests", _silence(agreement)
    period = "One or more consecutive minutes that are down."
    if minutes > 1:
        period = f"At least {minutes} consecutive minutes that are down; the minutes of fewer count as up."
    yield "7", "Downtime period", period
    yield "8", "Month", f"The calendar month in the time zone {agreement.time_zone}, with the minutes it really has."
    promise = (
        f"At least {term_percent_text(agreement.target)} monthly uptime: the minutes of the whole month less those"
        " down, divided by the minutes of the whole month. Compared exactly; shown percentages are cut off, never"
        " rounded up."
    )
    yield "9\u201311", "Promise", promise
    yield "12\u201314", "Exclusions", _exclusions(agreement)
    yield counting_term(agreement)


def each_outcome_term(agreement: Agreement) -> Iterator[Term]:
    """Go through the terms that make a span a valid or a failed request (clause 4)."""
    yield "4", "Status", _status(agreement)
    yield "4", "Valid requests", _valid_requests(agreement)
    yield "4", "Failed requests", _failed_requests(agreement)


def counting_term(agreement: Agreement) -> Term:
    """Give the basis of counting (clause 19)."""
    text = {
        Counting.REQUESTS: "Each span that was received counts as one request; sampled traces are not extrapolated.",
        Counting.ADJUSTED: "Each span counts as the requests that the sampling threshold T in its tracestate (ot=th)"
        " says it stands for, 2^56 / (2^56 \u2212 T), and as one request without a threshold. Request counts are cut"
        " off to whole requests after summing; minutes are judged on the exact sums.",
    }[agreement.counting]
    return "19", "Counting", text


def each_counting_term(agreement: Agreement) -> Iterator[Term]:
    """Go through the terms that say what is counted, and as what: those of clauses 1 to 4."""
    yield "1\u20133", "Covered service", _covered_service(agreement)
    by = f"Each distinct value of {_listed(agreement.group_by, 'and')}." if agreement.group_by else ""
    yield "3", "Judged by itself", by or "All requests are judged together."
    yield from each_outcome_term(agreement)


def _covered_service(agreement: Agreement) -> str:
    spans = "spans of kind SERVER"
    if agreement.entry_spans_only:
        spans += " that have no parent or a remote one"
    which = f" for which {selector_text(agreement.covered_service)}" if agreement.covered_service else ""
    if agreement.covered_any:
        one_of = "; or ".join(map(selector_text, agreement.covered_any))
        which = f"{which}, and one of these holds: {one_of}" if which else f" for which one of these holds: {one_of}"
    return f"A request is one of the {spans}{which}. It belongs to the minute in which it ended."


def _status(agreement: Agreement) -> str:
    if agreement.outcome_rules == FIRST_RULES:
        return (
            "An HTTP status decides alone where there is one, whatever gRPC status stands beside it (the outcome rules"
            " of otel-sla 0.1.0, version 1)."
        )
    return (
        "An HTTP status from 400 on decides. One below 400 says only that the transport worked: a gRPC status beside"
        f" it decides (outcome rules, version {agreement.outcome_rules})."
    )


def _valid_requests(agreement: Agreement) -> str:
    text = (
        "All but those that the client is to blame for: HTTP 400-499, and gRPC codes other than OK,"
        f" {_grpc_codes(SERVER_FAULT_GRPC_STATUS)}."
    )
    if agreement.no_status_code is NoStatusCode.INVALID:
        which = " that bear an error" if agreement.outcome_rules == FIRST_RULES else ""
        text += f" Those without a status code{which} are not valid either."
    if agreement.invalid:
        text += f" Nor are those for which {'; or '.join(map(selector_text, agreement.invalid))}."
    return text


def _failed_requests(agreement: Agreement) -> str:
    pieces = [f"those for which {selector_text(rule)}, whatever their status" for rule in agreement.failed]
    http = f"HTTP {', '.join(status_ranges(agreement.failed_http_status)) or 'no status'}"
    if agreement.code is not None:
        code = agreement.code
        http += f" if {code.attribute} is {_listed(code.values, 'or')}"
        http += " or absent" if code.when_absent is WhenAbsent.FAILED else ""
    pieces.append(http)
    failed_grpc = agreement.failed_grpc_status
    pieces.append(f"gRPC {_grpc_codes(failed_grpc)}" if failed_grpc else "no gRPC code")
    if agreement.no_status_code is NoStatusCode.SPAN_STATUS:
        pieces.append("without a status code, a span status ERROR or an error.type")
    text = "; ".join(pieces)
    text = f"{text[0].upper()}{text[1:]}."
    if agreement.code is not None:
        text += " A request with such an HTTP status that its code spares has succeeded, and is counted as spared."
    spared = SERVER_FAULT_GRPC_STATUS - failed_grpc
    if spared:
        text += f" gRPC {_grpc_codes(spared)} {'has' if len(spared) == 1 else 'have'} succeeded."
    return text


def _silence(agreement: Agreement) -> str:
    terms = agreement.downtime
    excluded = ", an excluded one too." if agreement.carries_excluded else "; an excluded minute judges nothing."
    silence = {
        NoData.UP: "no downtime.",
        NoData.DOWN: "down, from the first one with data on.",
        NoData.CARRY: f"down if the last judged one was{excluded}",
    }[terms.no_data]
    text = f"A minute without a valid request is {silence}"
    if terms.valid_requests_min > 1:
        text = (
            f"A minute with fewer than {terms.valid_requests_min} valid requests is low traffic and no downtime. {text}"
        )
    return text


def _exclusions(agreement: Agreement) -> str:
    terms = agreement.exclusions
    text = "Minutes that an accepted window covers whole are no downtime; the minutes of the month stay the same."
    days = terms.notice_business_days_min
    if days:
        text += f" Scheduled maintenance has to be announced {days} business {'day' if days == 1 else 'days'} before."
    if terms.holidays:
        text += f" Holidays: {', '.join(day.isoformat() for day in terms.holidays)}."
    return text


def selector_text(selector: Selector) -> str:
    """Write a selector's conditions."""
    conditions = (f"{each.scope.value} {each.key} is {_listed(each.patterns, 'or')}" for each in selector)
    return " and ".join(conditions) or "nothing is asked"


def _listed(words: Sequence[str], last: str) -> str:
    return _joined([f"\u201c{word}\u201d" for word in words], last)


def _grpc_codes(codes: frozenset[int]) -> str:
    return _joined([SERVER_FAULT_NAMES[code] for code in sorted(codes)], "or")


def _joined(words: Sequence[str], last: str) -> str:
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def status_ranges(statuses: frozenset[int]) -> list[str]:
    """Write status codes as the shortest list of ranges.

    >>> status_ranges(frozenset({500, 502, 503}))
    ['500', '502-503']
    """
    ranges: list[list[int]] = []
    for status in sorted(statuses):
        if ranges and ranges[-1][1] == status - 1:
            ranges[-1][1] = status
        else:
            ranges.append([status, status])
    return [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
