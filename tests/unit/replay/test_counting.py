"""The memory of what a replay met."""

from pathlib import Path

import pytest
from ledger_parts import fingerprint, make_commit

from otel_sla.ledger.writer import Ledger
from otel_sla.replay.counting import SeenMessages


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An open ledger with fingerprint 1 of minute 5."""
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    ledger.commit(make_commit([(5, 0, 1, 0, 0)], [(5, 1)], new_series=1))
    return ledger


def test_messages_are_new_once(ledger: Ledger) -> None:
    """A message is new once, and never if the ledger has it or it was passed by."""
    seen = SeenMessages(ledger)
    seen.remember(fingerprint(3))
    assert [seen.is_new(5, fingerprint(number)) for number in (1, 2, 2, 3, 1)] == [False, True, False, False, False]
    assert not seen.is_new(9, fingerprint(2))
    ledger.close()


def test_what_is_forgotten_is_looked_up(ledger: Ledger) -> None:
    """A message that memory had to give up is still known if it was committed meanwhile, of whatever minute."""
    seen = SeenMessages(ledger, remembered_max=4)
    assert seen.is_new(99, fingerprint(2))
    ledger.commit(make_commit([], [(99, 2)]))
    for number in range(10, 20):
        assert seen.is_new(7, fingerprint(number))
    assert not seen.is_new(99, fingerprint(2))
    ledger.close()


def test_memory_is_bounded_and_keeps_the_latest(ledger: Ledger) -> None:
    """However many messages come, a repetition within half the bound is found, and no more than the bound is kept."""
    seen = SeenMessages(ledger, remembered_max=100)
    for number in range(10, 1000):
        assert seen.is_new(7, fingerprint(number))
        assert len(seen._young) + len(seen._old) <= 100
        assert not seen.is_new(7, fingerprint(max(10, number - 49)))
    assert seen.is_new(7, fingerprint(10))
    ledger.close()
