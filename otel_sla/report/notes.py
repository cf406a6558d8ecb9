"""What a reader of an agreement's month has to know besides its figures, one sentence each; the same in all formats."""

from collections.abc import Iterator
from fractions import Fraction

from otel_sla.report.document import AgreementReport
from otel_sla.sla.agreement import Counting
from otel_sla.sla.texts import percent_text


def each_note(report: AgreementReport) -> Iterator[str]:
    """Go through the notes of one agreement's month, the most important first."""
    yield from _spared(report)
    yield from _sampled(report)


def _spared(report: AgreementReport) -> Iterator[str]:
    """Clause 4: what the code attribute has spared, and whether it may be the wrong one."""
    spared = sum(series.figures.spans.spared for series in report.series)
    code = report.agreement.code
    if not spared:
        return
    by = f", as {code.attribute} says" if code is not None else " by the terms of their time"
    said = f"{_counted(spared, 'request')} with a failing HTTP status {_were(spared)} spared{by}, and succeeded."
    if not any(series.figures.failed for series in report.series):
        said += " No request failed: most likely the rule reads an attribute that does not hold the answer's code."
    yield said


def _sampled(report: AgreementReport) -> Iterator[str]:
    """Clause 19: the share of sampled traces, and what it means for the basis."""
    each = [series.figures.spans for series in report.series]
    total, sampled = sum(spans.total for spans in each), sum(spans.sampled for spans in each)
    is_adjusted = report.agreement.counting is Counting.ADJUSTED
    if sampled:
        said = f"{sampled:,} of {_counted(total, 'span')} ({_share(sampled, total)}) {_were(sampled)} sampled: "
        yield said + (
            "each counts as the requests that it stands for."
            if is_adjusted
            else "each counts as one request, though it stands for more. Samplers that keep the errors raise the error"
            " rate; `counting: adjusted` judges by what the spans stand for."
        )
    unthresholded = sum(spans.unthresholded for spans in each)
    if is_adjusted and unthresholded:
        verb = "bears" if unthresholded == 1 else "bear"
        said = f"{unthresholded:,} of {_counted(total, 'span')} ({_share(unthresholded, total)}) {verb} no sampling"
        yield f"{said} threshold and {'counts' if unthresholded == 1 else 'count'} as one request each."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _share(count: int, total: int) -> str:
    return percent_text(Fraction(count, total), 2)
