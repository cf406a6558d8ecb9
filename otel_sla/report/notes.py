"""What a reader of an agreement's month has to know besides its figures, one sentence each; the same in all formats."""

from collections.abc import Iterator
from fractions import Fraction

from otel_sla.report.document import AgreementReport, CountedBy
from otel_sla.report.terms import each_counting_term
from otel_sla.report.wording import short_minute
from otel_sla.sla.agreement import Counting
from otel_sla.sla.figures_text import counted, percent_text


def each_note(report: AgreementReport) -> Iterator[str]:
    """Go through the notes of one agreement's month, the most important first."""
    zone = report.agreement.time_zone
    yield from _closing(report)
    if not report.configured:
        yield "The agreement is no longer configured; the month is judged by its last terms."
    if report.elapsed == 0:
        yield f"Nothing of this month has elapsed yet: it begins at {short_minute(report.minutes.start_minute, zone)}."
    n_former = sum(series.former for series in report.series)
    if n_former:
        yield (
            f"{counted(n_former, 'series', 'series')} marked \u201cformer\u201d: of a grouping that the terms"
            " have no more, judged and in the verdict all the same (clause 22)."
        )
    if len(report.counted_by) > 1:
        yield "The requests of this month were counted under several terms (clause 22):"
        yield from (_counted_by(version, report) for version in report.counted_by)
    yield from _spared(report)
    yield from _sampled(report)


def _closing(report: AgreementReport) -> Iterator[str]:
    if not report.is_as_closed or not report.series:  # `absence_text` has what is to be said without any.
        return
    yield "Its counts are kept no longer (ledger.retention): these are the figures that it was closed with."
    n_incomplete = sum(not series.is_complete for series in report.series)
    if n_incomplete:
        of_series = "" if n_incomplete == len(report.series) else f" of {n_incomplete} series"
        yield f"An earlier otel-sla closed it{of_series}, and kept no downtime periods and no single exclusions."
    if report.has_later_exclusions:
        yield "Exclusions were recorded or withdrawn since; these figures stay what they were."


def _counted_by(version: CountedBy, report: AgreementReport) -> str:
    zone = report.agreement.time_zone
    start, stop = (short_minute(minute, zone) for minute in version.minutes)
    shared = set.intersection(*(set(each_counting_term(each.agreement)) for each in report.counted_by))
    own = [term for term in each_counting_term(version.agreement) if term not in shared]
    text = " ".join(f"{heading}: {words}" for _, heading, words in own) or "Attributes and rules in the JSON report."
    known = ", by when the terms were recorded" if version.is_derived else ""
    return f"Version {version.version} from {start} to {stop}{known}. {text}"


def _spared(report: AgreementReport) -> Iterator[str]:
    """Clause 4: what the code attribute has spared, and whether it may be the wrong one."""
    spared = sum(series.figures.spans.spared for series in report.series)
    code = report.agreement.code
    if not spared:
        return
    by = f", as {code.attribute} says" if code is not None else " by the terms of their time"
    text = f"{counted(spared, 'request')} with a failing HTTP status {_were(spared)} spared{by}, and succeeded."
    if not any(series.figures.failed for series in report.series):
        text += " No request failed: most likely the rule reads an attribute that does not hold the answer's code."
    yield text


def _sampled(report: AgreementReport) -> Iterator[str]:
    """Clause 19: the share of sampled traces, and what it means for the basis."""
    each = [series.figures.spans for series in report.series]
    total, sampled = sum(spans.total for spans in each), sum(spans.sampled for spans in each)
    is_adjusted = report.agreement.counting is Counting.ADJUSTED
    if sampled:
        text = f"{sampled:,} of {counted(total, 'span')} ({_share(sampled, total)}) {_were(sampled)} sampled: "
        yield text + (
            "each counts as the requests that it stands for."
            if is_adjusted
            else "each counts as one request, though it stands for more. Samplers that keep the errors raise the error"
            " rate; `counting: adjusted` judges by what the spans stand for."
        )
    unthresholded = sum(spans.unthresholded for spans in each)
    if is_adjusted and unthresholded:
        verb = "bears" if unthresholded == 1 else "bear"
        text = f"{unthresholded:,} of {counted(total, 'span')} ({_share(unthresholded, total)}) {verb} no sampling"
        yield f"{text} threshold and {'counts' if unthresholded == 1 else 'count'} as one request each."


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _share(count: int, total: int) -> str:
    return percent_text(Fraction(count, total), 2)
