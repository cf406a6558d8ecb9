"""Decoding, classifying and the ring against the slow twin, on random agreements and traffic."""

from collections import Counter

import agreements
import naive
import numpy as np
import pytest

from otel_sla.sla.classify import AcceptWindow, Classifier
from otel_sla.sla.ring import MinuteRing
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.decode import decode_request

Counts = Counter[tuple[str, tuple[tuple[str, bytes], ...], int, int]]


def count_fast(case: agreements.Case, **limits: int) -> tuple[Counts, list[int]]:
    """Count a case with the package: requests by agreement, group, minute and outcome; rejected spans by request."""
    table = SeriesTable(case.agreements, series_max=10_000)
    classifier = Classifier(case.agreements, table, **limits)
    ring = MinuteRing(minutes_kept=4)
    seen: set[bytes] = set()
    rejected = []
    rows = []
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
        if len(rejected) % 3 == 0:
            rows.append(ring.drain())
    rows.append(ring.drain())
    counts: Counts = Counter()
    for part in rows:
        triples = zip(part.series_id.tolist(), part.epoch_minute.tolist(), part.counts.tolist(), strict=True)
        for series_id, minute, three in triples:
            series = table[series_id]
            for outcome, count in enumerate(three):
                counts[series.agreement, series.group, minute, outcome] += count
    return +counts, rejected


def count_slowly(case: agreements.Case) -> tuple[Counts, list[int | None]]:
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
            for outcome, count in enumerate(three):
                counts[name, group, minute, outcome] += count
    return +counts, counted.rejected


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
