"""What `/readyz` says."""

from typing import NamedTuple


class Readiness(NamedTuple):
    """Whether requests are taken; both are of one line."""

    reason: str = ""  # Why none are; empty if they are.
    notice: str = ""  # What is wrong all the same.
