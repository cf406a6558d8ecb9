"""Killed in the middle of a load: the short form of `make crash`."""

from pathlib import Path

from crash import crash_rounds


def test_crash_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """After kill -9 and a restart every acknowledged span is there, and every repeated one once."""
    crash_rounds(3, 20261101, tmp_path, print)
