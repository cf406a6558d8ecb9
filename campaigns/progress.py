"""How a campaign says how it goes on: a line at once, also into a pipe."""

import sys


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
