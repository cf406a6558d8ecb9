"""Recorded files into a real ledger."""

import dataclasses
import io
import os
import random
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import agreements
import naive
import pytest
from builders import (
    MINUTE_NANOS,
    START_UNIX_NANO,
    make_request,
    make_request_of,
    make_resource_spans,
    make_span,
    realistic_request,
)
from pipeline_parts import Clock, events_of, make_config, run, running
from replay_parts import (
    COMPRESSIONS,
    FORMATS,
    SEALED_MINUTE,
    beside_in,
    counts_in,
    json_lines,
    lines,
    make_counting,
    make_logs,
    make_metrics,
    prefixed,
    replay_once,
    to_json,
    zstd_messages,
)

from otel_sla.config import load_config
from otel_sla.errors import ReplayError
from otel_sla.ledger.records import Closing, Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.replay.counting import Totals
from otel_sla.replay.records import NO_FORMAT
from otel_sla.replay.replay import OnError, Replay, ReplayOptions
from otel_sla.replay.session import start_counting
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.counts import NANOS_PER_MINUTE

AGREEMENTS = load_config(None, {}).agreements
BODIES = [realistic_request(30, seed, duration_nano=5 * MINUTE_NANOS) for seed in range(12)]
SMALL_COMMITS = ReplayOptions(commit_size_bytes=1)
SKIP = ReplayOptions(on_error=OnError.SKIP)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A new ledger."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        yield ledger


def expected_counts(bodies: Sequence[bytes], terms: Sequence[Agreement] = AGREEMENTS) -> naive.Counted:
    """What the slow twin counts of requests that are never too late."""
    arrivals = [(body, START_UNIX_NANO + 10**18) for body in bodies]
    span = timedelta(days=200_000)
    return naive.count(arrivals, terms, late_spans_max=span, future_spans_max=span)


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS.keys())
@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS.keys())
def test_every_format_and_compression_counts_the_same(
    ledger: Ledger, write: Callable[[Sequence[bytes]], bytes], compress: Callable[[bytes], bytes]
) -> None:
    """However a file was written, its counts are the twin's, and the totals say the same."""
    counting, told = replay_once(ledger, AGREEMENTS, compress(write(BODIES)))
    expected = expected_counts(BODIES)
    assert counts_in(ledger) == expected.series
    totals = counting.totals
    assert told == []
    assert (totals.records, totals.spans) == (12, 360)
    for outcome in Outcome:
        counted = sum(counts[outcome] for minutes in expected.series.values() for counts in minutes.values())
        assert totals.requests["default", outcome] == counted


@pytest.mark.parametrize("first_seed", range(0, 40, 10))
def test_random_cases_equal_the_twin(tmp_path: Path, first_seed: int) -> None:
    """Random agreements and traffic give the twin's counts, from JSON as from protobuf; repetitions count once."""
    for seed in range(first_seed, first_seed + 10):
        case = agreements.random_case(seed, with_exclusions=False)
        bodies = [body for body, _ in case.requests]
        expected = expected_counts(bodies, case.agreements)
        with closing(Ledger.open(f"sqlite:///{tmp_path}/{seed}.db")) as ledger:
            counting, _ = replay_once(ledger, case.agreements, prefixed(bodies), sealed_before_minute=seed % 2 << 40)
            assert counts_in(ledger) == expected.series, f"seed {seed}"
            assert beside_in(ledger) == expected.beside, f"seed {seed}"
            assert counting.totals.notes.unusable_status_spans == expected.unusable_status, f"seed {seed}"
            assert counting.totals.malformed_spans == expected.malformed, f"seed {seed}"


def test_same_file_again_counts_nothing(ledger: Ledger) -> None:
    """Under another name, compressed otherwise, in one command or in another: a file counts once."""
    content = json_lines(BODIES)
    replay_once(ledger, AGREEMENTS, content, sealed_before_minute=1 << 40)
    before = counts_in(ledger)
    for compress in COMPRESSIONS.values():
        again, told = replay_once(ledger, AGREEMENTS, compress(content), name="copy", sealed_before_minute=1 << 40)
        assert again.totals == Totals(earlier_records=12)
        assert told == []
    assert counts_in(ledger) == before


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS.keys())
@pytest.mark.parametrize("seed", range(3))
def test_growing_file_counts_what_is_new(ledger: Ledger, write: Callable[[Sequence[bytes]], bytes], seed: int) -> None:
    """A file that is replayed again and again while it is written, cut anywhere, counts each record once in the end."""
    content = write(BODIES)
    cuts = sorted(random.Random(seed).sample(range(len(content)), 8))
    for cut in (*cuts, len(content)):
        replay_once(ledger, AGREEMENTS, content[:cut], sealed_before_minute=1 << 40)
    assert counts_in(ledger) == expected_counts(BODIES).series


def test_whole_last_line_counts_before_its_break_has_come(ledger: Ledger) -> None:
    """A last line without a line break counts once, whether its break or more lines come later."""
    content = json_lines(BODIES)
    first_stop = content.index(b"\n")
    for stop in (first_stop, first_stop + 1, len(content) - 1, len(content)):
        _, told = replay_once(ledger, AGREEMENTS, content[:stop], sealed_before_minute=1 << 40)
        assert told == []
    assert counts_in(ledger) == expected_counts(BODIES).series


class _StopError(Exception):
    pass


class _StoppingLedger:
    """A ledger that fails instead of its n-th commit, as a process that is killed there."""

    def __init__(self, ledger: Ledger, commits: int) -> None:
        self._ledger = ledger
        self._commits_left = commits

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)

    def commit(self, commit: Commit) -> None:
        if self._commits_left == 0:
            raise _StopError
        self._commits_left -= 1
        self._ledger.commit(commit)


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS.keys())
def test_interrupted_replay_goes_on(ledger: Ledger, write: Callable[[Sequence[bytes]], bytes]) -> None:
    """A replay that stops before any of its commits counts each record once when it is run again, and again."""
    duplicates = [BODIES[0], BODIES[3], BODIES[3]]
    content = write([*BODIES, *duplicates])
    for commits in range(5):
        with pytest.raises(_StopError):
            replay_once(_StoppingLedger(ledger, commits), AGREEMENTS, content, _unjoined())  # type: ignore[arg-type]
    counting, _ = replay_once(ledger, AGREEMENTS, content, _unjoined(), sealed_before_minute=1 << 40)
    assert counts_in(ledger) == expected_counts(BODIES).series
    assert counting.totals.earlier_records == 10
    assert counting.totals.records == 5
    assert counting.totals.duplicate_spans == 90


def _unjoined() -> ReplayOptions:
    """Every record is a commit."""
    return ReplayOptions(commit_size_bytes=1, joined_size_bytes_max=0)


BROKEN_LINE = b'{"resourceSpans":[{"scopeSpans":7}]}'
BROKEN_MESSAGE = BODIES[5][:-7]


def _broken_file(*, is_json: bool) -> tuple[bytes, str]:
    """Twelve records and a broken one behind the fourth; and how that one is named."""
    if is_json:
        texts = [to_json(body) for body in BODIES]
        return lines([*texts[:4], b"", BROKEN_LINE, *texts[4:]]), "spans, line 6: not an OTLP trace request in JSON"
    stop = len(prefixed(BODIES[:4]))
    return prefixed([*BODIES[:4], BROKEN_MESSAGE, *BODIES[4:]]), f"spans, record 5 at byte {stop}: not an OTLP trace"


@pytest.mark.parametrize("is_json", [True, False])
def test_broken_record_stops_the_replay_behind_what_it_has(ledger: Ledger, *, is_json: bool) -> None:
    """By default a broken record is fatal and named; all before it is counted, and a second run skips it."""
    content, where = _broken_file(is_json=is_json)
    for earlier in (0, 4):
        counting = make_counting(ledger, AGREEMENTS, sealed_before_minute=1 << 40)
        with pytest.raises(ReplayError) as error:
            Replay(counting, ReplayOptions()).count("spans", io.BytesIO(content))
        assert str(error.value).startswith(where)
        assert "--on-error skip" in error.value.hint
        assert (counting.totals.earlier_records, counting.totals.records) == (earlier, 4 - earlier)
        assert counts_in(ledger) == expected_counts(BODIES[:4]).series
    counting, told = replay_once(ledger, AGREEMENTS, content, SKIP, sealed_before_minute=1 << 40)
    assert [line.startswith(where) for line in told] == [True]
    assert (counting.totals.broken_records, counting.totals.records) == (1, 8)
    assert counts_in(ledger) == expected_counts(BODIES).series
    counting, told = replay_once(ledger, AGREEMENTS, content, sealed_before_minute=1 << 40)
    assert (told, counting.totals) == ([], Totals(earlier_records=13))


RECORDS = [to_json(body) for body in BODIES[:3]]
BEGINNINGS = {
    "rest of a record": (RECORDS[2][40:] + b"\n", "the first line is not a whole record"),
    "rest that begins as a record": (RECORDS[2][RECORDS[2].index(b"{", 1) :] + b"\n", "the first line is not a whole"),
    "begin of a record": (RECORDS[2][:-40] + b"\n", "the first line is not a whole record"),
    "begin of a record on the same line": (RECORDS[2][:-40], "the first line is not a whole record"),
    "rest and begin on the same line": (RECORDS[2][9:] + RECORDS[2][:-40], "the first line is not a whole record"),
    "zeros": (bytes(4097), "4,097 bytes are not counted: zeros or a byte order mark"),
    "many zeros": (bytes(3_000_001), "3,000,001 bytes are not counted: zeros or a byte order mark"),
    "zeros on a line of their own": (bytes(4096) + b"\n", "4,096 bytes are not counted: zeros"),
    "byte order mark": (b"\xef\xbb\xbf", "3 bytes are not counted: zeros or a byte order mark"),
    "byte order mark and rest": (b"\xef\xbb\xbf" + RECORDS[2][40:] + b"\n", "3 bytes are not counted"),
}


@pytest.mark.parametrize("options", [ReplayOptions(), SKIP], ids=["stop", "skip"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_file_that_begins_in_the_middle_counts_what_is_whole(
    ledger: Ledger, beginning: str, options: ReplayOptions
) -> None:
    """Half a record, zeros or a byte order mark in front: both good records count, what was skipped is told, once."""
    content, where = BEGINNINGS[beginning]
    counting, told = replay_once(
        ledger, AGREEMENTS, content + lines(RECORDS[:2]), options, sealed_before_minute=1 << 40
    )
    assert (counting.totals.records, counting.totals.broken_records) == (2, 0)
    assert counting.totals.padding_size_bytes + counting.totals.headless_size_bytes == len(content.rstrip(b"\n"))
    assert counts_in(ledger) == expected_counts(BODIES[:2]).series
    assert told[0].startswith("spans, line 1: ")
    assert where in told[0]
    counting, told = replay_once(ledger, AGREEMENTS, content + lines(RECORDS[:2]), options)
    assert (told, counting.totals.records) == ([], 0)


def test_an_array_of_records_is_told(ledger: Ledger) -> None:
    """An array with a line for each record: with skip nothing is counted, and a line says what the file is not."""
    counting, told = replay_once(ledger, AGREEMENTS, b"[" + b",\n".join(RECORDS) + b"]\n", SKIP)
    assert counting.totals.records == 0
    assert told[-1] == f"spans: no record in it is whole: {NO_FORMAT}"
    _, told = replay_once(ledger, AGREEMENTS, lines([RECORDS[0], b"{oops}"]), SKIP)
    assert NO_FORMAT not in "".join(told)


def test_a_single_byte_is_counted_as_one(ledger: Ledger) -> None:
    """What is left out is said in grammatical numbers."""
    _, told = replay_once(ledger, AGREEMENTS, b"\0" + lines(RECORDS[:1]) + b"{")
    assert told[0].startswith("spans, line 1: 1 byte is not counted: ")
    assert "the middle of a record: 1 byte behind byte " in told[1]


def test_half_a_record_before_another_loses_only_itself(ledger: Ledger) -> None:
    """A crash of the recorder left half a record, and the next one behind it on its line: with skip that one counts."""
    content = lines([RECORDS[0], RECORDS[2][:-40] + RECORDS[1], bytes(100) + RECORDS[2]])
    with pytest.raises(ReplayError, match="spans, line 2"):
        replay_once(ledger, AGREEMENTS, content)
    counting, told = replay_once(ledger, AGREEMENTS, content, SKIP, sealed_before_minute=1 << 40)
    assert (counting.totals.records, counting.totals.broken_records, len(told)) == (2, 1, 2)
    assert counts_in(ledger) == expected_counts(BODIES[:3]).series


@pytest.mark.parametrize("text", [rb"\ud83d", b"\xe9t\xe9"])
def test_any_text_is_counted(ledger: Ledger, text: bytes) -> None:
    """The file exporter's lines with half an emoji or bytes that are no UTF-8, also as the last without its break."""
    spans = [make_request_of(make_span(name="TEXT", end_time_unix_nano=START_UNIX_NANO + n)) for n in range(3)]
    content = json_lines(spans).replace(b"TEXT", text)
    counting, told = replay_once(ledger, AGREEMENTS, content.rstrip(b"\n"))
    assert (counting.totals.records, told) == (3, [])
    assert counts_in(ledger) == expected_counts(spans).series


def test_broken_record_does_not_run_into_the_next(ledger: Ledger) -> None:
    """Small records are counted together; one whose last field reaches beyond its end takes nothing from the next."""
    small = [make_request_of(make_span(end_time_unix_nano=START_UNIX_NANO + n)) for n in range(6)]
    reaching = b"\x0a" + bytes([len(small[1]) + 2]) + b"\x12\x00"
    counting, told = replay_once(ledger, AGREEMENTS, prefixed([small[0], reaching, *small[1:]]), SKIP)
    assert counting.totals.broken_records == len(told) == 1
    assert counts_in(ledger) == expected_counts(small).series


def test_damaged_file_keeps_what_was_counted(ledger: Ledger) -> None:
    """Where a file cannot be read on, all before is counted; with `skip` the next file is."""
    content = prefixed(BODIES[:6]) + b"\xff\xff\xff\xff" + prefixed(BODIES[6:])
    with pytest.raises(ReplayError, match="spans, record 7 at byte"):
        replay_once(ledger, AGREEMENTS, content)
    assert counts_in(ledger) == expected_counts(BODIES[:6]).series
    counting, told = replay_once(ledger, AGREEMENTS, content, SKIP)
    assert (counting.totals.skipped_files, counting.totals.earlier_records, len(told)) == (1, 6, 1)


@pytest.mark.parametrize("is_json", [True, False])
def test_other_signals_are_passed_over(ledger: Ledger, *, is_json: bool) -> None:
    """Metrics and logs between the traces are counted as such, whatever option says of broken records."""
    if is_json:
        others = [b'{"resourceMetrics":[{"resource":{}}]}', b'{"resourceLogs":[{"resource":{}}]}']
        content = lines([others[0], *map(to_json, BODIES[:3]), others[1], *map(to_json, BODIES[3:]), others[1]])
    else:
        content = prefixed([make_metrics(), *BODIES[:3], make_logs(), *BODIES[3:], make_logs()])
    counting, told = replay_once(ledger, AGREEMENTS, content)
    assert (counting.totals.other_signal_records, counting.totals.records, counting.totals.spans) == (3, 12, 360)
    assert told == []
    assert counts_in(ledger) == expected_counts(BODIES).series
    again, _ = replay_once(ledger, AGREEMENTS, content)
    assert again.totals == Totals(earlier_records=15)


def test_repeated_messages_count_once(ledger: Ledger) -> None:
    """A ResourceSpans that its sender repeated counts once in a file and across the files of a command, also of
    minutes whose fingerprints are not kept.
    """
    one, two, three = (make_resource_spans([make_span({"n": n})]) for n in range(3))
    first, second = [make_request(one, two), make_request(two)], [make_request(three, one)]
    counting = make_counting(ledger, AGREEMENTS, sealed_before_minute=SEALED_MINUTE)
    replay = Replay(counting, ReplayOptions())
    replay.count("first", io.BytesIO(prefixed(first)))
    replay.count("second", io.BytesIO(prefixed(second)))
    assert counting.totals.duplicate_spans == 2
    assert counts_in(ledger) == expected_counts(first + second).series


def test_what_came_in_live_counts_once(ledger: Ledger) -> None:
    """What a sender delivered is not counted again from a file as long as the ledger has its fingerprint; and what was
    replayed has one, if its minute is not sealed.
    """
    minute = START_UNIX_NANO // NANOS_PER_MINUTE
    counting, _ = replay_once(ledger, AGREEMENTS, prefixed(BODIES[:3]), sealed_before_minute=minute)
    again, _ = replay_once(ledger, AGREEMENTS, json_lines(BODIES[3:]), sealed_before_minute=minute)
    assert counting.totals.duplicate_spans == again.totals.duplicate_spans == 0
    other_file, _ = replay_once(ledger, AGREEMENTS, zstd_messages(BODIES[::-1]), sealed_before_minute=minute)
    assert other_file.totals.duplicate_spans == 360
    while ledger.seal(minute + 10):
        pass
    forgotten, _ = replay_once(ledger, AGREEMENTS, prefixed(BODIES[1:3]), sealed_before_minute=minute + 10)
    assert (forgotten.totals.duplicate_spans, forgotten.totals.sealed_spans) == (0, 60)


def test_old_minutes_are_reopened(ledger: Ledger) -> None:
    """Spans of any age count, those of judged minutes re-open these with what they held, so that they are told anew."""
    minute = START_UNIX_NANO // NANOS_PER_MINUTE
    replay_once(ledger, AGREEMENTS, prefixed(BODIES[:1]))
    held = counts_in(ledger)
    ledger.close_minutes(Closing(judged_before=minute + 1000, sealed_before=minute + 900))
    counting, _ = replay_once(ledger, AGREEMENTS, prefixed(BODIES[1:]), sealed_before_minute=minute + 900)
    assert counts_in(ledger) == expected_counts(BODIES).series
    series = ledger.series()
    for reopened in ledger.reopened():
        before = held[series[reopened.series_id].agreement, series[reopened.series_id].group]
        assert list(reopened.counts_before) == before.get(reopened.epoch_minute, [0, 0, 0])
    assert len(ledger.reopened()) == 15
    assert counting.totals.sealed_spans == 11 * 30


def test_replayed_spans_are_told_by_the_pipeline(tmp_path: Path) -> None:
    """Failures that are replayed into minutes that were told of as up, sealed ones too, are told when the pipeline runs
    again: first the revision, then all follows from it.
    """
    config, clock = make_config(tmp_path), Clock(START_UNIX_NANO + 1)
    succeeded = make_request_of(*[make_span({"http.response.status_code": 200}) for _ in range(10)])
    failed = make_request_of(*[make_span({"http.response.status_code": 500}, name=str(n)) for n in range(10)])

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            await send(succeeded)
            clock.now += 30 * 3600 * 10**9
            await pipeline.tick()
        assert events_of(config) == []
        with closing(Ledger.open(config.ledger.url)) as ledger:
            counting = start_counting(ledger, config, clock)
            Replay(counting, ReplayOptions()).count("spans", io.BytesIO(prefixed([failed])))
            assert counting.totals.sealed_spans == 10
        async with running(config, clock) as (pipeline, _):
            await pipeline.tick()

    run(scenario)
    assert [event.name for event in events_of(config)] == [
        "sla.verdict.revised",
        "sla.downtime.started",
        "sla.downtime.ended",
    ]


def test_spans_ahead_of_the_clock_are_rejected(ledger: Ledger) -> None:
    """A span that ends in the future has a wrong clock, one without an end none: neither counts, both are told."""
    spans = [make_span(end_time_unix_nano=end) for end in (START_UNIX_NANO, START_UNIX_NANO + 1, 0)]
    counting = make_counting(ledger, AGREEMENTS, future=START_UNIX_NANO)
    Replay(counting, ReplayOptions()).count("spans", io.BytesIO(prefixed([make_request_of(*spans)])))
    totals = counting.totals
    assert (totals.future_spans, totals.malformed_spans, totals.rejected_spans) == (1, 1, 2)
    assert totals.requests.total() == 1


def test_file_that_only_begins_alike_is_refused(ledger: Ledger) -> None:
    """A file that begins like a counted one and goes on differently, or ends before, counts nothing and says why."""
    replay_once(ledger, AGREEMENTS, prefixed(BODIES[:6]))
    before = counts_in(ledger)
    for bodies, reason in (
        ([*BODIES[:3], *BODIES[6:]], "begins like a file that was counted up to byte"),
        ([*BODIES[:5], BODIES[5].replace(b"chat.example.com", b"chat.example.org")], "begins like a file"),
        (BODIES[:3], "it is cut off"),
    ):
        with pytest.raises(ReplayError, match=reason):
            replay_once(ledger, AGREEMENTS, prefixed(bodies))
    assert counts_in(ledger) == before


@pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="200 MB of spans, an hour without the compiler")
def test_memory_does_not_grow_with_the_file(ledger: Ledger) -> None:
    """A file that is read through a pipe takes no more memory at its end than after its first part."""
    content = prefixed(BODIES)
    counting = make_counting(ledger, AGREEMENTS)
    Replay(counting, ReplayOptions()).count("-", io.BufferedReader(io.BytesIO(content)))  # The kernels are loaded.
    tracemalloc.start()
    peaks: list[int] = []

    class _Endless(io.RawIOBase):
        """The same records 1,500 times, some 200 MB."""

        rounds = 1500
        rest = b""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            if not self.rest and self.rounds:
                self.rounds -= 1
                self.rest = content
                if self.rounds % 500 == 0:
                    peaks.append(tracemalloc.get_traced_memory()[1])
                    tracemalloc.reset_peak()
            size = min(len(buffer), len(self.rest))
            buffer[:size], self.rest = self.rest[:size], self.rest[size:]
            return size

    Replay(counting, ReplayOptions()).count("-", io.BufferedReader(_Endless()))
    tracemalloc.stop()
    assert counting.totals.records == 18_000
    assert peaks[-1] < peaks[0] + 5_000_000, "130 MB were read meanwhile"
    assert max(peaks) < 30_000_000


def test_spans_of_sealed_minutes_count_once_whatever_covers_them(ledger: Ledger) -> None:
    """Two agreements over the same spans: each is counted for both, and told as one span of a sealed minute."""
    both = (AGREEMENTS[0], dataclasses.replace(AGREEMENTS[0], name="other", group_by=()))
    counting, _ = replay_once(ledger, both, prefixed(BODIES[:2]), sealed_before_minute=SEALED_MINUTE)
    assert sum(counting.totals.requests.values()) == 120
    assert counting.totals.sealed_spans == 60
    again, _ = replay_once(ledger, both, prefixed(BODIES[2:3]), sealed_before_minute=0)
    assert again.totals.sealed_spans == 0


def test_records_of_other_signals_are_not_kept(ledger: Ledger) -> None:
    """Twenty megabytes of metrics: what is not counted is not held until something is."""
    line = b'{"resourceMetrics":[{"schemaUrl":"' + b"x" * 2000 + b'"}]}\n'
    stream = io.BytesIO(line * 10_000)
    counting = make_counting(ledger, AGREEMENTS)
    tracemalloc.start()
    Replay(counting, ReplayOptions()).count("metrics.json", stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counting.totals.other_signal_records == 10_000
    assert peak < 8_000_000
