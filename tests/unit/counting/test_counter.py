"""The core that senders, recordings and applications share: what is new in a request."""

import builders
from column_parts import agreement_of

from otel_sla.counting.counter import RequestCounter, find_fresh
from otel_sla.sla.counts import AcceptWindow
from otel_sla.sla.series import SeriesTable

EVER = AcceptWindow(sealed_before_minute=0, future_after_unix_nano=2**63)


def test_repeats_are_left_out_also_within_one_request() -> None:
    """Of three messages one repeats an earlier request and one its neighbour: one is new, and counts once."""
    agreements = [agreement_of()]
    counter = RequestCounter(agreements, SeriesTable(agreements, series_max=10), fingerprint_seed=1)
    known, new = (
        builders.make_resource_spans([builders.make_span(span_id=number.to_bytes(8))] * 2) for number in (1, 2)
    )
    counted = set()
    for pieces, n_repeated in (((known,), 0), ((known, new, new), 4)):
        body = builders.make_request(*pieces)
        columns = counter.decode(body)
        fresh = find_fresh(columns.n_resources, counter.fingerprints_of(columns, body), counted.__contains__)
        assert fresh.repeated_spans(columns) == n_repeated
        counter.add(counter.classifier.classify(columns, EVER, fresh.is_fresh), fresh.new)
        counted.update(fresh.new)
    assert fresh.is_fresh.tolist() == [False, True, False]
    commit = counter.take()
    assert set(commit.fingerprints) == counted
    assert commit.rows.counts.sum() == 4
    assert len(counter.take().rows) == 0
