"""Messages whose counts are known, sent again and again in other company until they are acknowledged."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import builders
import xxhash
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from disk.record import Known
from otel_sla.errors import LedgerError
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.writer import Ledger

MINUTE_NANOS = builders.MINUTE_NANOS
_SERVICES = ("chat", "search", "upload", "voice", "login")
_EVER = 1 << 40

Cell = tuple[str, int, int]  # (service, epoch minute, 0 succeeded or 1 failed).


@dataclass(frozen=True)
class Message:
    """One ResourceSpans message, which keeps its bytes however often it is sent."""

    resource_spans: ResourceSpans
    counts: Counter[Cell]
    newest_minute: int

    def fingerprint(self, seed: int) -> tuple[int, bytes]:
        """What the ledger knows it by."""
        return self.newest_minute, xxhash.xxh3_128_digest(self.resource_spans.SerializeToString(), seed)


@dataclass(frozen=True, slots=True)
class Found:
    """What is wrong with a ledger, by what the sender knows."""

    lost_spans: int = 0  # Of acknowledged messages.
    broken: str = ""  # It does not open, or is damaged.
    wrong: str = ""  # Counted twice, in part, or never sent; or told and forgotten.

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line each; () when all is well."""
        lost = f"{self.lost_spans} acknowledged spans are lost" if self.lost_spans else ""
        return tuple(line for line in (lost, self.broken, self.wrong) if line)


class Sender:
    """All messages that were ever made, by number."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.messages: list[Message] = []

    def make(self, count: int, now_unix_nano: int) -> list[int]:
        """New messages: spans of some service, of the last minutes."""
        first = len(self.messages)
        for _ in range(count):
            service, counts, spans = self._rng.choice(_SERVICES), Counter[Cell](), []
            for _ in range(self._rng.randrange(1, 12)):
                end = now_unix_nano - self._rng.randrange(5 * MINUTE_NANOS)
                is_failed = self._rng.random() < 0.2
                counts[service, end // MINUTE_NANOS, int(is_failed)] += 1
                spans.append(
                    builders.make_span(
                        {"http.response.status_code": 500 if is_failed else 200},
                        end_time_unix_nano=end,
                        span_id=self._rng.randbytes(8),
                    )
                )
            message = builders.make_resource_spans(spans, {"service.name": service})
            self.messages.append(Message(message, counts, max(minute for _, minute, _ in counts)))
        return list(range(first, len(self.messages)))

    def batched(self, numbers: Iterable[int]) -> list[tuple[int, ...]]:
        """Put messages together to requests, otherwise each time, as a Collector that sends again does."""
        numbers = list(numbers)
        self._rng.shuffle(numbers)
        requests = []
        while numbers:
            size = self._rng.randrange(1, 4)
            requests.append(tuple(numbers[:size]))
            numbers = numbers[size:]
        return requests

    def body(self, request: Sequence[int]) -> bytes:
        """The bytes of a request."""
        return builders.make_request(*(self.messages[number].resource_spans for number in request))

    def compare(self, url: str, known: Known) -> Found:
        """Open a ledger as a pipeline does, and look at it whole.

        Each message is counted whole or not at all, by its fingerprint and by its counts; and none that was not sent.
        """
        try:
            with closing(Ledger.open(url)) as ledger:
                if damage := ledger.check():
                    return Found(self.count_spans(known.acknowledged), damage[0])
                fingerprints = (message.fingerprint(ledger.fingerprint_seed) for message in self.messages)
                counted = {number for number, one in enumerate(fingerprints) if ledger.is_counted(*one)}
                held, marks = _held(ledger), ledger.watermarks()
                n_events = ledger.events_count_after(0)
        except LedgerError as error:
            return Found(self.count_spans(known.acknowledged), str(error))
        expected: Counter[Cell] = Counter()
        for number in counted:
            expected.update(self.messages[number].counts)
        wrong = []
        if held != expected:
            wrong.append(f"{held.total()} spans are counted, the fingerprints stand for {expected.total()}")
        if not counted <= known.begun:
            wrong.append("a message is counted that was not sent")
        if (marks.published_before or 0) < known.told.told_before or n_events < known.told.n_events:
            wrong.append("what was told is forgotten")
        return Found(self.count_spans(known.acknowledged - counted), wrong="; ".join(wrong))

    def count_spans(self, numbers: Iterable[int]) -> int:
        """The spans of these messages."""
        return sum(self.messages[number].counts.total() for number in numbers)


def _held(ledger: LedgerReadings) -> Counter[Cell]:
    services = {series.series_id: series.group[0][1].decode() if series.group else "" for series in ledger.series()}
    rows, held = ledger.counts(0, _EVER), Counter[Cell]()
    for series_id, minute, (succeeded, failed, _) in zip(
        rows.series_id.tolist(), rows.epoch_minute.tolist(), rows.outcomes.tolist(), strict=True
    ):
        held.update({(services[series_id], minute, 0): succeeded, (services[series_id], minute, 1): failed})
    return +held
