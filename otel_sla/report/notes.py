"""What a reader of an agreement's month has to know besides its figures, one sentence each; the same in all formats."""

from collections.abc import Iterator

from otel_sla.report.document import AgreementReport


def each_note(report: AgreementReport) -> Iterator[str]:  # noqa: ARG001 - filled by what is counted besides.
    """Go through the notes of one agreement's month, the most important first."""
    yield from ()
