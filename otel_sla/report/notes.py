"""What a reader of an agreement's month has to know besides its figures, one sentence each; the same in all formats."""

from collections.abc import Iterator

from otel_sla.report.document import AgreementReport, CountedBy
from otel_sla.report.terms import each_counting_term
from otel_sla.report.wording import counted_text, short_minute


def each_note(report: AgreementReport) -> Iterator[str]:
    """Go through the notes of one agreement's month, the most important first."""
    zone = report.agreement.time_zone
    if not report.configured:
        yield "The agreement is configured no more; the month is judged by its last terms."
    if report.elapsed == 0:
        yield f"Nothing of this month has elapsed yet: it begins at {short_minute(report.minutes.start_minute, zone)}."
    elif not report.series:
        yield "No request was counted in this month."
    n_former = sum(series.former for series in report.series)
    if n_former:
        yield (
            f"{counted_text(n_former, 'series', 'series')} marked \u201cformer\u201d: of a grouping that the terms"
            " have no more, judged and in the verdict all the same (clause 22)."
        )
    if len(report.counted_by) > 1:
        yield "The requests of this month were counted under several terms (clause 22):"
        yield from (_counted(counted, report) for counted in report.counted_by)


def _counted(counted: CountedBy, report: AgreementReport) -> str:
    zone = report.agreement.time_zone
    start, stop = (short_minute(minute, zone) for minute in counted.minutes)
    shared = set.intersection(*(set(each_counting_term(each.agreement)) for each in report.counted_by))
    own = [term for term in each_counting_term(counted.agreement) if term not in shared]
    said = " ".join(f"{heading}: {words}" for _, heading, words in own) or "Attributes and rules in the JSON report."
    known = ", by when the terms were recorded" if counted.is_derived else ""
    return f"Version {counted.version} from {start} to {stop}{known}. {said}"
