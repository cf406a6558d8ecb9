"""The one way from a request to counts: decode, leave out what was counted before, classify, add to the ring, commit.

`ReceivedCounts` goes it for senders that wait, the replay for recorded files and the SDK for its own spans. What was
counted before is for each of them to know.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from otel_sla.arrays import BoolArray
from otel_sla.counting.classify.classifier import Classifier, Requests
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.counting.repeats.fingerprint import Fingerprint, fingerprints_of
from otel_sla.ledger.records import Commit, Position
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.columns import SpanColumns
from otel_sla.spans.request import decode_request


class FreshResources(NamedTuple):
    """Which ResourceSpans of a request were not counted before."""

    is_fresh: BoolArray  # bool[n_resources]. True also of those without server spans.
    new: dict[Fingerprint, int]  # Index of each one that was not counted before and has server spans.
    repeats: list[Fingerprint]  # Of the others.

    def repeated_spans(self, columns: SpanColumns) -> int:
        """Count the spans of the repeats."""
        return int(np.count_nonzero(~self.is_fresh[columns.resource_index])) if self.repeats else 0


def find_fresh(
    n_resources: int, found: Iterable[tuple[int, Fingerprint]], is_counted: Callable[[Fingerprint], bool]
) -> FreshResources:
    """Separate new ResourceSpans from repeats, also of one within the same request.

    `found` has index and fingerprint of each with server spans; `is_counted` says whether it was counted before.
    """
    fresh = FreshResources(np.ones(n_resources, dtype=np.bool_), {}, [])
    for index, fingerprint in found:
        if fingerprint in fresh.new or is_counted(fingerprint):
            fresh.is_fresh[index] = False
            fresh.repeats.append(fingerprint)
        else:
            fresh.new[fingerprint] = index
    return fresh


class RequestCounter:
    """Counts requests, and gives as a `Commit` what was counted since the last one. One thread owns it.

    `table` gets the series that are met; `fingerprint_seed` is the ledger's secret.
    """

    def __init__(
        self, agreements: Sequence[Agreement], table: SeriesTable, *, minutes_kept: int = 16, fingerprint_seed: int = 0
    ) -> None:
        self.table = table
        # A sender who knew the key could make values that all collide.
        self.classifier = Classifier(agreements, table, hash_key=[secrets.randbits(64) for _ in range(4)])
        self.ring = MinuteRing(minutes_kept=minutes_kept)
        self.fingerprints: list[Fingerprint] = []  # Of what was counted since the last commit.
        self._fingerprint_seed = fingerprint_seed

    def decode(self, body: bytes | memoryview, **limits: int) -> SpanColumns:
        """Decode a request; limits and errors are those of `decode_request`."""
        return decode_request(body, self.classifier.watch, **limits)

    def fingerprints_of(self, columns: SpanColumns, body: bytes | memoryview) -> Iterator[tuple[int, Fingerprint]]:
        """Give index and fingerprint of each ResourceSpans with server spans."""
        return fingerprints_of(columns, body, self._fingerprint_seed)

    def add(self, requests: Requests, fingerprints: Iterable[Fingerprint] = ()) -> None:
        """Count requests, and the fingerprints by which they are known when they come again."""
        self.ring.add(requests)
        self.fingerprints.extend(fingerprints)

    def take(self, positions: tuple[Position, ...] = ()) -> Commit:
        """Give what was counted since the last call."""
        fingerprints, self.fingerprints = tuple(self.fingerprints), []
        return Commit(self.table.drain_new(), self.ring.drain(), fingerprints, positions)
