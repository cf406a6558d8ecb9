"""From bytes to counts per series and minute, against the slow twin."""

from collections import defaultdict

import agreements
import naive
import numpy as np
import pytest

from otel_sla.counting.classify.classifier import Classifier
from otel_sla.counting.classify.notes import Notes
from otel_sla.sla.counts import COUNT_MAX, OUTCOME_BITS, SAMPLED_BIT, SPARED_BIT, THRESHOLDED_BIT, AcceptWindow
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.request import decode_request

SEEDS_PER_TEST = 20


def count(case: agreements.Case) -> naive.Counted:
    """What `naive.count` gives, by decoder and classifier."""
    table = SeriesTable(case.agreements, series_max=10_000)
    classifier = Classifier(case.agreements, table)
    series: dict[naive.SeriesKey, naive.MinuteCounts] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    beside: dict[naive.SeriesKey, naive.MinuteBeside] = defaultdict(lambda: defaultdict(lambda: [0] * 6))
    counted, notes = naive.Counted(), Notes()
    seen: set[bytes] = set()
    for body, now in case.requests:
        columns = decode_request(body, classifier.watch)
        is_fresh = np.ones(columns.n_resources, dtype=np.bool_)
        for index, (start, stop) in enumerate(zip(columns.resource_start, columns.resource_stop, strict=True)):
            is_fresh[index] = body[start:stop] not in seen
            seen.add(body[start:stop])
        window = AcceptWindow(
            sealed_before_minute=(now - naive.nanos(case.late_spans_max)) // naive.NANOS_PER_MINUTE,
            future_after_unix_nano=now + naive.nanos(case.future_spans_max),
        )
        requests = classifier.classify(columns, window, is_fresh)
        counted.late += requests.late_count
        counted.future += requests.future_count
        counted.malformed += requests.malformed_count
        counted.rejected.append(requests.rejected_count)
        notes.add(requests.notes or Notes())
        excess = requests.excess if len(requests.excess) else np.zeros(len(requests), dtype=np.int64)
        for series_id, minute, bits, more in zip(
            *(column.tolist() for column in (requests.series_id, requests.epoch_minute, requests.outcome_bits, excess)),
            strict=True,
        ):
            key = table[series_id].agreement, table[series_id].group
            series[key][minute][bits & OUTCOME_BITS] += 1
            if bits > OUTCOME_BITS:
                held = beside[key][minute]
                for column, bit in enumerate((SPARED_BIT, SAMPLED_BIT, THRESHOLDED_BIT)):
                    held[column] += (bits & bit) != 0
                if bits & SAMPLED_BIT:
                    held[3 + (bits & OUTCOME_BITS)] = min(held[3 + (bits & OUTCOME_BITS)] + more, COUNT_MAX)
    counted.beside = {key: dict(minutes) for key, minutes in beside.items()}
    counted.unusable_status = dict(notes.unusable_status_spans)
    counted.unusable_threshold, counted.sampled = notes.unusable_threshold_spans, notes.sampled_spans
    counted.unknown_parent = notes.unknown_parent_spans
    counted.series = {key: dict(minutes) for key, minutes in series.items()}
    return counted


@pytest.mark.parametrize("first_seed", range(0, 200, SEEDS_PER_TEST))
def test_counts_from_bytes_equal_the_twin(first_seed: int) -> None:
    """For random agreements and traffic every count and every rejection is the twin's."""
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        case = agreements.random_case(seed)
        expected = naive.count(
            case.requests,
            case.agreements,
            late_spans_max=case.late_spans_max,
            future_spans_max=case.future_spans_max,
        )
        assert count(case) == expected, f"seed {seed}"
