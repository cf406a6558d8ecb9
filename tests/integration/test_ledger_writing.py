"""What the ledger promises to the pipeline, on real files."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from ledger_parts import count_rows, fingerprint, listed, make_commit, make_event, make_series

from otel_sla.errors import LedgerError
from otel_sla.ledger.counts_table import packed_id
from otel_sla.ledger.day_blob import pack_day
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import (
    ClosedMonth,
    Closing,
    Commit,
    Cursor,
    Position,
    RefusedPoints,
    Reopened,
    SetAside,
    Watermarks,
)
from otel_sla.ledger.schema import APPLICATION_ID, MIGRATIONS
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.counts import CountsBeside
from otel_sla.sla.series import OVERFLOW_GROUP, Series

DAY = 1440
PACK_ALL = 10**6


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where no ledger is yet."""
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A new ledger."""
    opened = Ledger.open(url)
    yield opened
    opened.close()


@pytest.fixture
def reader(ledger: Ledger, url: str) -> Iterator[LedgerReader]:
    """A reader beside the pipeline's ledger."""
    assert ledger.path.exists()
    opened = LedgerReader.open(url)
    yield opened
    opened.close()


def seal_all(ledger: Ledger, before: int = PACK_ALL, rows_max: int = 64) -> None:
    """Seal in small pieces until nothing is left."""
    while ledger.seal(before, rows_max=rows_max):
        pass


def test_what_was_committed_is_there_after_reopening(ledger: Ledger, url: str) -> None:
    """Series, counts, fingerprints, the secret and the identity outlive the process; bytes stay what they were."""
    odd = Series(1, "chat \N{SNOWMAN}", (("key", b"\xff\x00\xfe"), ("", b""), ("key", b"2")), is_overflow=False)
    overflow = Series(2, "chat", OVERFLOW_GROUP, is_overflow=True)
    rows = [(100, 0, 5, 1, 2), (101, 2, 0, 0, 3)]
    new_series = (make_series(0), odd, overflow)
    ledger.commit(Commit(new_series, count_rows(rows), ((101, fingerprint(7)),)))
    identity = (ledger.instance_id, ledger.fingerprint_seed)
    ledger.close()
    reopened = Ledger.open(url)
    assert reopened.series() == new_series
    assert listed(reopened.counts(0, 200)) == rows
    assert reopened.is_counted(101, fingerprint(7))
    assert not reopened.is_counted(100, fingerprint(7))
    assert not reopened.is_counted(101, fingerprint(8))
    assert (reopened.instance_id, reopened.fingerprint_seed) == identity
    reopened.close()


def test_two_ledgers_differ_in_secret_and_identity(tmp_path: Path) -> None:
    """Each new ledger gets its own secret seed and its own identity."""
    made = [Ledger.open(f"sqlite:///{tmp_path}/{name}.db") for name in "ab"]
    assert len({ledger.instance_id for ledger in made}) == len({ledger.fingerprint_seed for ledger in made}) == 2
    for ledger in made:
        ledger.close()


def test_only_the_owner_may_read(ledger: Ledger) -> None:
    """The file holds the secret of the fingerprints, so it is made for its owner only."""
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_counts_add_up(ledger: Ledger, reader: LedgerReader) -> None:
    """Counts of later commits are added; a reader sees each commit at once, whole."""
    ledger.commit(make_commit([(10, 0, 1, 2, 3), (10, 1, 1, 0, 0)], new_series=2))
    ledger.commit(make_commit([(9, 1, 4, 4, 4), (10, 0, 10, 20, 30)]))
    assert listed(reader.counts(0, 100)) == [(9, 1, 4, 4, 4), (10, 0, 11, 22, 33), (10, 1, 1, 0, 0)]
    assert listed(reader.counts(10, 11, [1])) == [(10, 1, 1, 0, 0)]
    assert listed(reader.counts(10, 10)) == []
    assert listed(reader.counts(0, 100, [])) == []


def test_a_fingerprint_counts_once(ledger: Ledger, url: str) -> None:
    """A commit with a known fingerprint is a broken promise: nothing of it is written, nothing more is."""
    ledger.commit(make_commit([(10, 0, 1, 0, 0)], [(10, 1)], new_series=1))
    with pytest.raises(LedgerError, match="counted twice"):
        ledger.commit(make_commit([(10, 0, 1, 0, 0)], [(10, 2), (10, 1)]))
    with pytest.raises(LedgerError, match="counted twice"):
        ledger.commit(make_commit([(11, 0, 1, 0, 0)]))
    with pytest.raises(LedgerError, match="counted twice"):
        ledger.counts(0, 100)
    with pytest.raises(LedgerError, match="counted twice"):
        ledger.is_counted(10, fingerprint(1))
    ledger.close()
    again = Ledger.open(url)
    assert listed(again.counts(0, 100)) == [(10, 0, 1, 0, 0)]
    assert not again.is_counted(10, fingerprint(2))
    again.close()


def test_counts_of_an_unknown_series_are_refused(ledger: Ledger) -> None:
    """A row whose series was never committed would be lost to every report: it is a defect, told as one."""
    with pytest.raises(LedgerError, match="FOREIGN KEY") as caught:
        ledger.commit(make_commit([(10, 5, 1, 0, 0)]))
    assert "report it" in caught.value.hint


def test_a_mistake_of_the_caller_leaves_nothing_half_written(ledger: Ledger, url: str) -> None:
    """An error that is none of the ledger's rolls back and closes the ledger to all."""
    with pytest.raises(AttributeError):
        ledger.commit(Commit((make_series(0),), count_rows([(1, 0, 1, 0, 0)]), ((1, fingerprint(1)), (None, b""))))  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match="left by an error"):
        ledger.series()
    ledger.close()
    again = Ledger.open(url)
    assert again.series() == ()
    again.close()


def test_reopened_keeps_what_was_judged(ledger: Ledger, reader: LedgerReader) -> None:
    """Late requests keep what their minute held when it was judged, from rows and from packed days; the first time."""
    ledger.commit(make_commit([(10, 0, 1, 2, 3), (DAY, 0, 7, 0, 0)], new_series=2))
    assert reader.reopened() == ()
    ledger.close_minutes(Closing(judged_before=DAY + 1, sealed_before=None))
    ledger.seal(0, pack_before=DAY)
    late = [(10, 0, 1, 0, 0), (11, 1, 1, 0, 0), (DAY, 0, 0, 1, 0), (DAY + 1, 0, 1, 0, 0)]
    ledger.commit(make_commit(late))
    expected = (Reopened(0, 10, (1, 2, 3)), Reopened(0, DAY, (7, 0, 0)), Reopened(1, 11, (0, 0, 0)))
    assert reader.reopened() == expected
    ledger.commit(make_commit(late))
    assert reader.reopened() == expected
    told = (Reopened(0, 10, (3, 2, 3)), Reopened(1, 11, (2, 0, 0)), Reopened(1, 99, (0, 0, 0)))
    ledger.close_minutes(Closing(None, None, settled=told))
    assert reader.reopened() == expected[1:2]
    ledger.commit(make_commit(late[:1]))
    assert reader.reopened()[0] == Reopened(0, 10, (3, 2, 3))


def test_a_minute_that_grew_while_it_was_published_stays_reopened(ledger: Ledger, reader: LedgerReader) -> None:
    """Requests come between the look at a re-opened minute and its settling: it is re-opened with what was told."""
    ledger.commit(make_commit([(10, 0, 1, 0, 0)], new_series=1))
    ledger.close_minutes(Closing(judged_before=11, sealed_before=None, published_before=11, revisions=((0, 2),)))
    ledger.commit(make_commit([(10, 0, 1, 0, 0)]))
    looked_at = Reopened(0, 10, (2, 0, 0))
    ledger.commit(make_commit([(10, 0, 0, 1, 0)]))
    ledger.close_minutes(Closing(None, None, settled=(looked_at,)))
    assert reader.reopened() == (looked_at,)
    ledger.close_minutes(Closing(None, None, settled=(Reopened(0, 10, (2, 1, 0)),)))
    assert reader.reopened() == ()
    assert reader.watermarks().published_before == 11
    assert reader.revisions() == {0: 2}


def test_first_data_minutes(ledger: Ledger, reader: LedgerReader, url: str) -> None:
    """The first minute with a valid request is kept as the earliest ever seen; invalid requests are no data."""
    ledger.commit(make_commit([(10, 0, 0, 0, 9), (20, 0, 1, 0, 0), (30, 1, 0, 1, 0)], new_series=3))
    assert reader.first_data_minutes() == {0: 20, 1: 30}
    ledger.commit(make_commit([(15, 0, 0, 1, 0), (16, 0, 1, 0, 0), (31, 1, 1, 0, 0)]))
    assert reader.first_data_minutes() == {0: 15, 1: 30}
    ledger.close()
    again = Ledger.open(url)
    again.commit(make_commit([(14, 0, 0, 0, 1), (29, 1, 1, 0, 0)]))
    assert again.first_data_minutes() == {0: 15, 1: 29}
    again.close()


def test_first_minutes(ledger: Ledger, reader: LedgerReader) -> None:
    """The first minute with a request, an invalid one too, is kept as the earliest ever seen."""
    ledger.commit(make_commit([(10, 0, 0, 0, 9), (20, 0, 1, 0, 0), (30, 1, 0, 1, 0)], new_series=3))
    assert reader.first_minutes() == {0: 10, 1: 30}
    ledger.commit(make_commit([(9, 0, 0, 0, 1), (31, 1, 1, 0, 0)]))
    assert reader.first_minutes() == {0: 9, 1: 30}


def test_counts_beside_outcomes_are_summed_exactly(ledger: Ledger, reader: LedgerReader) -> None:
    """Spared and sampled requests and what these stand for are kept by minute, at most 2^62, and summed past int64."""
    huge = 2**62
    row = (10, 0, 5, 4, 3, 2, 6, 7, 1, huge, 2**20)
    ledger.commit(make_commit([row, (10, 1, 1, 0, 0), (DAY, 0, 0, 1, 0, 0, 1, 1, 0, huge, 0)], new_series=2))
    ledger.commit(make_commit([row]))
    expected = [(10, 0, 10, 8, 6, 4, 12, 14, 2, huge, 2**21), (10, 1, 1, 0, 0), (DAY, 0, 0, 1, 0, 0, 1, 1, 0, huge, 0)]
    for _ in range(2):
        assert listed(reader.counts(0, 2 * DAY)) == expected
        assert reader.counts_beside(0, 2 * DAY) == {0: (4, 13, 15, 2, 2 * huge, 2**21)}
        assert reader.counts_beside(11, 2 * DAY) == {0: (0, 1, 1, 0, huge, 0)}
        assert reader.counts_beside(11, DAY) == {}
        assert reader.month_counts(0, 10, 11, 9).tolist() == [list(expected[0][2:])]
        assert reader.month_counts(0, 10, 11).tolist() == [[10, 8, 6]]
        assert reader.last_data_minute(0, 2 * DAY, 19, is_adjusted=True) == (DAY, expected[2][2:])
        assert reader.last_data_minute(0, DAY, 18) == (10, (10, 8, 6))
        seal_all(ledger)
    ledger.close_minutes(Closing(judged_before=11, sealed_before=None))
    ledger.commit(make_commit([row]))
    assert reader.reopened() == (Reopened(0, 10, (10, 8, 6), CountsBeside(4, 12, 14, 2, huge, 2**21)),)
    assert ledger.check() == ()


def test_last_data_minute(ledger: Ledger, reader: LedgerReader) -> None:
    """`carry` finds the last minute with enough valid requests, minutes or days ago, packed or not."""
    ledger.commit(
        make_commit(
            [(5, 0, 3, 1, 0), (DAY + 7, 0, 1, 0, 9), (3 * DAY, 0, 0, 2, 0), (3 * DAY + 1, 0, 0, 0, 5)], new_series=2
        )
    )
    for _ in range(2):
        assert reader.last_data_minute(0, 3 * DAY + 1, 1) == (3 * DAY, (0, 2, 0))
        assert reader.last_data_minute(0, 5 * DAY + 100, 0) == (3 * DAY, (0, 2, 0))
        assert reader.last_data_minute(0, 3 * DAY, 1) == (DAY + 7, (1, 0, 9))
        assert reader.last_data_minute(0, 3 * DAY + 50, 3) == (5, (3, 1, 0))
        assert reader.last_data_minute(0, 3 * DAY + 50, 5) is None
        assert reader.last_data_minute(0, 5, 1) is None
        assert reader.last_data_minute(1, 5 * DAY, 1) is None
        assert reader.last_data_minute(99, 5 * DAY, 1) is None
        seal_all(ledger)


def test_watermarks_never_step_back(ledger: Ledger, reader: LedgerReader) -> None:
    """Each watermark only grows, by itself; None leaves it."""
    assert reader.watermarks() == Watermarks(None, None, 0, published_before=None)
    ledger.close_minutes(Closing(100, None))
    assert reader.watermarks() == Watermarks(100, None, 0, published_before=None)
    ledger.close_minutes(Closing(90, 50, exclusion_change=3))
    ledger.close_minutes(Closing(None, 40, exclusion_change=2))
    assert reader.watermarks() == Watermarks(100, 50, 3, published_before=None)


def test_events_are_kept_in_order_and_once(ledger: Ledger, reader: LedgerReader) -> None:
    """Events come back as written, in the order of writing; the same uid again changes nothing."""
    first, second, third = (make_event(uid, minute) for minute, uid in enumerate("abc"))
    ledger.close_minutes(Closing(1, None, events=(first, second)))
    ledger.close_minutes(Closing(2, None, events=(second, first, third)))
    stored = reader.events_after(0, 10)
    assert [item.event for item in stored] == [first, second, third]
    assert [type(value) for value in stored[0].event.attributes.values()] == [str, int, float, bool]
    assert reader.events_after(stored[0].event_id, 1) == stored[1:2]
    assert reader.events_count_after(stored[0].event_id) == 2


def test_cursors(ledger: Ledger, reader: LedgerReader) -> None:
    """Each exporter has its own cursor that never steps back; what was set aside is listed, once."""
    assert reader.cursor("otlp") == Cursor(0, None)
    ledger.advance_cursor("otlp", exported_before=7)
    ledger.advance_cursor("otlp", event_id=5, set_aside=(SetAside(5, "INVALID_ARGUMENT: no", 99),))
    ledger.advance_cursor("otlp", event_id=4, exported_before=6, set_aside=(SetAside(5, "again", 100),))
    ledger.advance_cursor("debug", event_id=1)
    assert reader.cursor("otlp") == Cursor(5, 7)
    assert reader.cursor("debug") == Cursor(1, None)
    assert reader.set_aside("otlp") == (SetAside(5, "INVALID_ARGUMENT: no", 99),)
    assert reader.set_aside("debug") == ()


def test_refused_points(ledger: Ledger, reader: LedgerReader) -> None:
    """Points that a backend refused add up for each exporter, over all of their minutes, with the last reason."""
    ledger.advance_cursor("otlp", exported_before=9, refused=RefusedPoints(4, 7, 8, "too late", 100))
    ledger.advance_cursor("otlp", exported_before=10)
    assert reader.refused_points("otlp") == RefusedPoints(4, 7, 8, "too late", 100)
    ledger.advance_cursor("otlp", replacement_id=1, refused=RefusedPoints(15, 2, 3, "again too late", 200))
    assert reader.refused_points("otlp") == RefusedPoints(19, 2, 8, "again too late", 200)
    assert reader.refused_points("debug") is None


def test_agreement_versions(ledger: Ledger, reader: LedgerReader) -> None:
    """Terms get a new version only when they differ from the last ones; all stay readable."""
    strict, loose = {"target": "0.999", "group_by": ["a"]}, {"target": "0.99", "group_by": ["a"]}
    assert [ledger.record_agreement("chat", terms, 10) for terms in (strict, dict(reversed(strict.items())))] == [1, 1]
    assert ledger.record_agreement("chat", loose, 20) == 2
    assert ledger.record_agreement("other", loose, 20) == 1
    assert ledger.record_agreement("chat", strict, 30) == 3
    versions = reader.agreement_versions("chat")
    assert [(item.version, item.terms, item.since_minute) for item in versions] == [
        (1, strict, 10),
        (2, loose, 20),
        (3, strict, 30),
    ]


def test_closed_months(ledger: Ledger, reader: LedgerReader) -> None:
    """A month's closings are kept; a later one has its own revision, the same one twice is refused."""
    ledger.commit(make_commit([], new_series=2))
    figures = {"monthly_uptime": "0.99898148", "minutes": {"down": 44}}
    first = ClosedMonth("chat", 0, "2026-11", 0, 1, figures, 5)
    second = ClosedMonth("chat", 0, "2026-11", 1, 1, {}, 6)
    other = ClosedMonth("chat", 1, "2026-11", 0, 1, figures, 5)
    ledger.close_minutes(Closing(None, None, closed_months=(first, other)))
    ledger.close_minutes(Closing(None, None, closed_months=(second,)))
    assert reader.closed_months("chat", "2026-11") == (first, second, other)
    assert reader.closed_months("chat", "2026-12") == ()
    with pytest.raises(LedgerError, match="UNIQUE"):
        ledger.close_minutes(Closing(99, None, events=(make_event("x"),), closed_months=(first,)))
    assert reader.watermarks().judged_before is None
    assert reader.events_after(0, 1) == ()


def test_positions_move_with_their_counts(ledger: Ledger, reader: LedgerReader, url: str) -> None:
    """A source that remembers its place is counted from there; who does not know the place counts nothing."""
    position = Position("file:1", None, 100)
    ledger.commit(Commit((make_series(0),), count_rows([(1, 0, 1, 0, 0)]), (), (position,)))
    ledger.commit(Commit((), count_rows([(1, 0, 1, 0, 0)]), (), (Position("file:1", 100, 250),)))
    assert (reader.position("file:1"), reader.position("file:2")) == (250, None)
    for stale in (position, Position("file:1", 100, 300)):
        with pytest.raises(LedgerError, match="file:1 is not at"):
            ledger.commit(Commit((), count_rows([(1, 0, 1, 0, 0)]), (), (stale,)))
        ledger.close()
        ledger = Ledger.open(url)
    ledger.close()
    assert listed(reader.counts(0, 9)) == [(1, 0, 2, 0, 0)]


def test_sealing_changes_no_total(ledger: Ledger, reader: LedgerReader) -> None:
    """Whatever is packed, partly packed, finished or late, totals and rows read the same."""
    rng = np.random.default_rng(5)
    everything: dict[tuple[int, int], list[int]] = {}
    for new_series in (7, 0, 0):
        minutes = rng.choice(3 * DAY, 400, replace=False)
        rows = [(int(m), int(rng.integers(7)), *rng.integers(0, 300, 3).tolist()) for m in minutes]
        ledger.commit(make_commit(rows, new_series=new_series))
        for minute, series_id, *counts in rows:
            total = everything.setdefault((minute, series_id), [0, 0, 0])
            everything[minute, series_id] = [a + b for a, b in zip(total, counts, strict=True)]
        expected = sorted((*key, *counts) for key, counts in everything.items() if any(counts))
        for before in (0, 100, DAY, 2 * DAY + 90, PACK_ALL):
            while ledger.seal(before // 2, pack_before=before, rows_max=120):
                pass
            assert listed(reader.counts(0, 3 * DAY)) == expected
            dense = dict(reader.each_month_counts(range(7), 50, 3 * DAY - 50))
            for series_id in range(7):
                counts = reader.month_counts(series_id, 50, 3 * DAY - 50)
                assert (counts == dense[series_id]).all()
                assert [
                    (minute + 50, series_id, *counts[minute].tolist()) for minute in np.flatnonzero(counts.any(axis=1))
                ] == [row for row in expected if row[1] == series_id and 50 <= row[0] < 3 * DAY - 50]
    assert listed(reader.counts(DAY - 5, DAY + 5, [2])) == [
        row for row in expected if row[1] == 2 and DAY - 5 <= row[0] < DAY + 5
    ]


def test_sealing_forgets_fingerprints_in_pieces(ledger: Ledger, reader: LedgerReader) -> None:
    """Fingerprints of sealed minutes go, a bounded number at a time; the others stay."""
    ledger.commit(make_commit([], [(minute, minute * 10 + n) for minute in range(20) for n in range(5)]))
    assert ledger.seal(10, rows_max=20), "from the log to their table"
    assert reader.is_counted(3, fingerprint(34), in_log=False)
    assert ledger.seal(10, rows_max=20)
    assert not reader.is_counted(3, fingerprint(34))
    assert reader.is_counted(4, fingerprint(40))
    seal_all(ledger, 10, 20)
    kept = [(m, n) for m in range(20) for n in range(5) if reader.is_counted(m, fingerprint(m * 10 + n))]
    assert kept == [(m, n) for m in range(10, 20) for n in range(5)]
    assert not ledger.seal(10)


def test_expiring(ledger: Ledger, reader: LedgerReader) -> None:
    """Counts and events from before the retention go, in pieces; what is later stays, ids are not used again."""
    rows = [(day * DAY + minute, series_id, 1, 0, 0) for day in range(4) for minute in (3, 900) for series_id in (0, 1)]
    ledger.commit(make_commit(rows, new_series=2))
    events = tuple(make_event(f"{day}", day * DAY) for day in range(4))
    ledger.close_minutes(Closing(4 * DAY, None, events=events))
    ledger.advance_cursor("otlp", set_aside=(SetAside(1, "no", 1), SetAside(4, "no", 1)))
    ledger.commit(make_commit([(2 * DAY + 3, 0, 0, 0, 1), (3, 0, 0, 0, 1)]))
    while ledger.seal(DAY, pack_before=2 * DAY):
        pass
    pieces = 0
    while ledger.expire(2 * DAY + 900, rows_max=8):
        pieces += 1
    assert pieces > 1
    # A packed day goes as a whole once all of it is too old; open minutes and events go by the minute.
    assert listed(reader.counts(0, 9 * DAY)) == [row for row in sorted(rows) if row[0] >= 2 * DAY + 900]
    assert [item.event.uid for item in reader.events_after(0, 9)] == ["3"]
    assert [item.event_id for item in reader.set_aside("otlp")] == [4]
    assert reader.reopened() == ()
    ledger.expire(9 * DAY)
    ledger.close_minutes(Closing(None, None, events=(make_event("new"),)))
    assert [item.event_id for item in reader.events_after(0, 9)] == [5]


def test_month_of_no_counts(ledger: Ledger, reader: LedgerReader) -> None:
    """An empty ledger reads as zeros, of any length."""
    assert ledger.counts(0, 99).counts.shape == (0, 9)
    assert reader.month_counts(0, 7, 7 + 44_640).shape == (44_640, 3)
    assert reader.month_counts(0, 2000 * DAY, 1000 * DAY).shape == (0, 3)
    assert not reader.month_counts(0, 0, 600 * DAY).any()
    ledger.commit(make_commit([(100, 0, 1, 0, 0)], new_series=1))
    assert not reader.month_counts(0, 101, 44_640).any()
    assert [series_id for series_id, _ in reader.each_month_counts([], 0, 10)] == []


def test_published_versions(ledger: Ledger, reader: LedgerReader) -> None:
    """The first terms are those that minutes are told by; later ones become so when the judge says so."""
    assert reader.published_versions() == {}
    assert [ledger.record_agreement("chat", {"target": target}, 10) for target in ("0.9", "0.99")] == [1, 2]
    assert reader.published_versions() == {"chat": 1}
    ledger.close_minutes(Closing(judged_before=None, sealed_before=None, published_versions=(("chat", 2),)))
    assert reader.published_versions() == {"chat": 2}


def test_a_ledger_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """What the older version wrote is there, and counts as told by the last terms that it knew."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript(MIGRATIONS[0])
        old.execute("INSERT INTO ledger (only, instance_id, fingerprint_seed) VALUES (1, 'i', x'0102030405060708')")
        old.executemany("INSERT INTO agreement_versions VALUES ('chat', ?, '{}', 7)", [(1,), (2,)])
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        assert ledger.instance_id == "i"
        assert ledger.published_versions() == {"chat": 2}
        assert ledger.check() == ()


def test_a_ledger_of_the_version_before_keeps_its_counts(tmp_path: Path) -> None:
    """Its minutes, days and re-opened minutes read as they were, and the first request of each series is found."""
    path = tmp_path / "old.db"
    day = np.zeros((3, DAY), dtype=np.int64)
    day[2, 700], day[0, 701] = 4, 9
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for step in MIGRATIONS[:5]:
            old.executescript(step)
        old.execute("INSERT INTO ledger (only, instance_id, fingerprint_seed) VALUES (1, 'i', x'0102030405060708')")
        firsts = [(0, DAY + 701), (1, None), (2, 3 * DAY), (3, 5)]
        old.executemany(
            "INSERT INTO series (series_id, agreement, is_overflow, first_data_minute) VALUES (?, 'chat', 0, ?)", firsts
        )
        old.execute("INSERT INTO packed VALUES (?, ?)", (packed_id(1, 0), pack_day(day)))
        old.execute("INSERT INTO packing VALUES (?, ?)", (packed_id(2, 0), pack_day(day)))
        old.execute("INSERT INTO packing VALUES (?, ?)", (packed_id(2, 1), pack_day(day)))
        old.execute("INSERT INTO counts VALUES (?, 2, 1, 2, 3)", (3 * DAY,))
        old.execute("INSERT INTO reopened VALUES (2, ?, 1, 1, 1)", (3 * DAY,))
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 5")
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger:
        # Of the last one the first minute's counts are kept no longer.
        assert ledger.first_minutes() == {0: DAY + 700, 1: 2 * DAY + 700, 2: 3 * DAY, 3: 5}
        assert listed(ledger.counts(0, 9 * DAY)) == [
            (DAY + 700, 0, 0, 0, 4),
            (DAY + 701, 0, 9, 0, 0),
            (2 * DAY + 700, 0, 0, 0, 4),
            (2 * DAY + 700, 1, 0, 0, 4),
            (2 * DAY + 701, 0, 9, 0, 0),
            (2 * DAY + 701, 1, 9, 0, 0),
            (3 * DAY, 2, 1, 2, 3),
        ]
        assert ledger.counts_beside(0, 9 * DAY) == {}
        assert ledger.reopened() == (Reopened(2, 3 * DAY, (1, 1, 1)),)
        ledger.commit(make_commit([(DAY, 0, 0, 0, 1)]))
        assert ledger.first_minutes()[0] == DAY
        assert ledger.check() == ()
