"""What a reader of an agreement's month has to know besides its figures, one sentence each; the same in all formats."""

from collections.abc import Iterator

from otel_sla.report.document import AgreementReport


def each_note(report: AgreementReport) -> Iterator[str]:
    """Go through the notes of one agreement's month, the most important first."""
    yield from _each_note_of_closing(report)


def _each_note_of_closing(report: AgreementReport) -> Iterator[str]:
    if not report.is_as_closed:
        return
    if not report.series:
        yield "Its counts are kept no longer (ledger.retention), and it was not closed; a backup has them."
        return
    yield "Its counts are kept no longer (ledger.retention): these are the figures that it was closed with."
    n_incomplete = sum(not series.is_complete for series in report.series)
    if n_incomplete:
        of_series = "" if n_incomplete == len(report.series) else f" of {n_incomplete} series"
        yield f"An earlier otel-sla closed it{of_series}, and kept no downtime periods and no single exclusions."
    if report.has_later_exclusions:
        yield "Exclusions were recorded or withdrawn since; these figures stay what they were."
