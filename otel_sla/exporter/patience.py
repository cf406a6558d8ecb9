"""How long an item may hold up all behind it when the backend says that it is not the item's fault.

A firewall that dislikes one body says 403, a proxy that fails over one says 502: the same as a backend that knows us no
more, or is away. What tells them apart is time, and that others are taken all the while.
"""

from collections.abc import Callable

WAIT_S = 2 * 3600.0  # An item that is refused for less is no matter: most outages are over by then.
ROUND_S = 15 * 60.0  # Between two rounds at least.
ROUNDS = 8  # In a row in which the item was refused, another one taken, and the item refused again.


class Patience:
    """With the item whose turn it is.

    Args:
        clock: Seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since_s: float | None = None  # It was refused alone first; None: it was not.
        self._due_s = 0.0  # The next round.
        self.rounds = 0  # That speak against it.

    def is_round_due(self) -> bool:
        """Take notice that the item was refused alone; tell whether it is time to look what becomes of others."""
        now_s = self._clock()
        if self._since_s is None:
            self._since_s = now_s
            self._due_s = now_s + WAIT_S
        if now_s < self._due_s:
            return False
        self._due_s = now_s + ROUND_S
        return True

    def count_round(self) -> bool:
        """Count a round; tell whether it is beyond doubt that the backend will never take the item."""
        self.rounds += 1
        return self.rounds >= ROUNDS

    def doubt(self) -> None:
        """Others are not taken either: no round before this one proves anything."""
        self.rounds = 0

    def waited_s(self) -> float:
        """Tell how long the item has been refused."""
        return 0.0 if self._since_s is None else self._clock() - self._since_s

    def forget(self) -> None:
        """It is the next item's turn."""
        self._since_s = None
        self.rounds = 0
