"""From bytes to counts per series and minute, against the slow twin."""

from collections import defaultdict

import agreements
import naive
import numpy as np
import pytest

from otel_sla.sla.classify import AcceptWindow, Classifier
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.decode import decode_request

SEEDS_PER_TEST = 20


def count(case: agreements.Case) -> naive.Counted:
    """What `naive.count` gives, by decoder and classifier."""
    table = SeriesTable(case.agreements, series_max=10_000)
    classifier = Classifier(case.agreements, table)
    series: dict[naive.SeriesKey, naive.MinuteCounts] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    counted = naive.Counted()
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
        for series_id, minute, outcome in zip(
            requests.series_id.tolist(), requests.epoch_minute.tolist(), requests.outcome.tolist(), strict=True
        ):
            found = table[series_id]
            series[found.agreement, found.group][minute][outcome] += 1
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
