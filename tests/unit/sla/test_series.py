"""Numbering of series."""

from dataclasses import replace

import pytest
from sla_parts import make_agreement

from otel_sla.sla.series import OVERFLOW_GROUP, Series, SeriesTable

CHAT = make_agreement()
BOT = replace(CHAT, name="bot", group_by=("service.name", "region"))


def test_each_group_of_each_agreement_is_a_series() -> None:
    """Equal values of two agreements are two series; the same again is the same series."""
    table = SeriesTable([CHAT, BOT], series_max=10)
    ids = [table.find_or_add(0, (b"a",)), table.find_or_add(1, (b"a", b"")), table.find_or_add(0, (b"a",))]
    assert ids == [0, 1, 0]
    assert len(table) == 2
    assert table[1] == Series(1, "bot", (("service.name", b"a"), ("region", b"")), is_overflow=False)


def test_new_series_are_drained_once() -> None:
    """A series is handed over for the commit once; known ones never."""
    known = Series(0, "chat", (("service.name", b"a"),), is_overflow=False)
    table = SeriesTable([CHAT], series_max=10, known=[known])
    assert table.drain_new() == ()
    table.find_or_add(0, (b"b",))
    assert [series.series_id for series in table.drain_new()] == [1]
    assert table.drain_new() == ()


def test_series_max_sends_the_rest_to_one_overflow_series() -> None:
    """Above the limit all further groups are one series, named as such; those before it and other agreements go on."""
    table = SeriesTable([CHAT, BOT], series_max=1)
    first = table.find_or_add(0, (b"a",))
    over = table.find_or_add(0, (b"b",))
    assert table.find_or_add(0, (b"c",)) == over != first
    assert table.find_or_add(0, (b"a",)) == first
    assert table[over].group == OVERFLOW_GROUP
    assert table[over].is_overflow
    assert table.overflow_ids == (over,)
    other = table.find_or_add(1, (b"a", b"b"))
    assert not table[other].is_overflow


def test_known_series_are_found_again() -> None:
    """After a restart the same group has the same id, in whatever order the ledger gave them."""
    before = SeriesTable([CHAT, BOT], series_max=1)
    groups = [(0, (b"a",)), (1, (b"x", b"y")), (0, (b"b",))]
    ids = [before.find_or_add(*group) for group in groups]
    after = SeriesTable([CHAT, BOT], series_max=1, known=reversed(before.drain_new()))
    assert [after.find_or_add(*group) for group in groups] == ids
    assert after.drain_new() == ()


def test_series_of_former_configurations_keep_their_numbers() -> None:
    """An agreement that is gone, or grouped otherwise now: its series stay, are never matched and fill no limit."""
    known = [
        Series(0, "gone", (("service.name", b"a"),), is_overflow=False),
        Series(1, "chat", (("region", b"a"),), is_overflow=False),
    ]
    table = SeriesTable([CHAT], series_max=1, known=known)
    assert table.find_or_add(0, (b"a",)) == 2
    assert not table[2].is_overflow


def test_known_ids_must_be_dense() -> None:
    """A gap in the ids is a broken promise of the ledger, seen at once."""
    with pytest.raises(AssertionError, match="dense"):
        SeriesTable([CHAT], series_max=1, known=[Series(1, "chat", (), is_overflow=False)])
