"""What commands see of the terminal that they write to."""

import os
import pty
import subprocess
import sys

import pytest

_ASK = "import sys; from otel_sla.cli.report import screen; print(screen(), file=sys.stderr)"


def _screen_of(*, has_terminal: bool, **environ: str) -> str:
    """The screen that a process finds."""
    ours, theirs = pty.openpty()
    try:
        ran = subprocess.run(
            [sys.executable, "-c", _ASK],
            stdout=theirs if has_terminal else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**{key: text for key, text in os.environ.items() if key != "NO_COLOR"}, "COLUMNS": "93", **environ},
            check=True,
            timeout=60,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    return ran.stderr.decode().strip()


@pytest.mark.parametrize(
    ("environ", "has_colours"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),  # As no-color.org has it: empty is not set.
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_a_terminal_has_colours_unless_it_or_its_user_has_none(environ: dict[str, str], *, has_colours: bool) -> None:
    """NO_COLOR and a dumb terminal take the colours away, never the width."""
    assert _screen_of(has_terminal=True, **environ) == f"Screen(width=93, has_colours={has_colours})"


def test_a_pipe_has_neither_width_nor_colours() -> None:
    """Whatever the environment says of a terminal, a pipe gets the same bytes."""
    assert _screen_of(has_terminal=False, TERM="xterm") == "Screen(width=None, has_colours=False)"
