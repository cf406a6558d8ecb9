"""Decoding, classifying and the ring against the slow twin, on random agreements and traffic."""

from collections import Counter

import agreements
import naive
import numpy as np
import pytest

from otel_sla.counting.classify.classifier import Classifier
from otel_sla.counting.classify.notes import Notes
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.sla.counts import COUNT_MAX, AcceptWindow, Count
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.request import decode_request

Counts = Counter[tuple[str, tuple[tuple[str, bytes], ...], int, int]]


Seen = tuple[dict[str, int], int, int, int]  # Unusable statuses by key, unusable thresholds, unknown parents, sampled.


def count_fast(case: agreements.Case, **limits: int) -> tuple[Counts, list[int], Seen]:
    """Count a case with the package: by agreement, group, minute and column; rejected by request; what was seen."""
    table = SeriesTable(case.agreements, series_max=10_000)
    classifier = Classifier(case.agreements, table, **limits)
    ring = MinuteRing(minutes_kept=4)
    seen: set[bytes] = set()
    rejected, rows, notes = [], [], Notes()
    for body, now in case.requests:
        columns = decode_request(body, classifier.watch)
        sealed_before = (now - naive.nanos(case.late_spans_max)) // naive.NANOS_PER_MINUTE
        window = AcceptWindow(sealed_before, now + naive.nanos(case.future_spans_max))
        is_fresh = []
        for start, stop in zip(columns.resource_start.tolist(), columns.resource_stop.tolist(), strict=True):
            is_fresh.append(body[start:stop] not in seen)
            seen.add(body[start:stop])
        requests = classifier.classify(columns, window, np.array(is_fresh, dtype=np.bool_))
        rejected.append(requests.rejected_count)
        ring.add(requests)
        if requests.notes is not None:
            notes.add(requests.notes)
        if len(rejected) % 3 == 0:
            rows.append(ring.drain())
    rows.append(ring.drain())
    counts: Counts = Counter()
    for part in rows:
        triples = zip(part.series_id.tolist(), part.epoch_minute.tolist(), part.counts.tolist(), strict=True)
        for series_id, minute, three in triples:
            series = table[series_id]
            for column, count in enumerate(three):
                key = series.agreement, series.group, minute, column
                counts[key] = min(counts[key] + count, COUNT_MAX)
    seen_spans = notes.unusable_threshold_spans, notes.unknown_parent_spans, notes.sampled_spans
    assert sum(part.counts[:, Count.SPARED].sum() for part in rows) == notes.spared_requests
    return +counts, rejected, (dict(notes.unusable_status_spans), *seen_spans)


def count_slowly(case: agreements.Case) -> tuple[Counts, list[int | None], Seen]:
    """The same by the twin."""
    counted = naive.count(
        list(case.requests),
        case.agreements,
        late_spans_max=case.late_spans_max,
        future_spans_max=case.future_spans_max,
    )
    counts: Counts = Counter()
    for (name, group), minutes in counted.series.items():
        for minute, three in minutes.items():
            for column, count in enumerate((*three, *counted.beside.get((name, group), {}).get(minute, ()))):
                counts[name, group, minute, column] += count
    seen = counted.unusable_threshold, counted.unknown_parent, counted.sampled
    return +counts, counted.rejected, (counted.unusable_status, *seen)


@pytest.mark.parametrize("seed", range(60))
def test_counts_are_the_twins(seed: int) -> None:
    """Random traffic under random agreements: every count of every series and minute is the twin's, and each answer."""
    case = agreements.random_case(seed, with_exclusions=False)
    assert count_fast(case) == count_slowly(case)


@pytest.mark.parametrize(
    "limits",
    [
        {"hash_mask": 0},
        {"hash_mask": 3},
        {"values_max": 1},
        {"values_max": 40, "hash_mask": 0},
        {"text_bytes_max": 1},
    ],
)
@pytest.mark.parametrize("seed", range(100, 105))
def test_limits_and_collisions_change_no_count(seed: int, limits: dict[str, int]) -> None:
    """Every hash collides, or all that was learnt is forgotten again and again: no two values are merged or lost."""
    case = agreements.random_case(seed, with_exclusions=False)
    assert count_fast(case, **limits) == count_slowly(case)
