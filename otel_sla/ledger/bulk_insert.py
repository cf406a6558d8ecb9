"""Writes many rows by few statements.

`executemany` takes one step of SQLite for each row, and Python's sqlite3 gives the interpreter's lock away for each
step. Beside an event loop that wants it all the time, every row costs both threads a change of hands: a commit of 80
rows took twice the CPU time that it takes in eight statements.
"""

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain

_PARAMETERS_MAX = 999  # SQLite takes as many at least.
_ROWS_MAX = 128  # In one statement.


def write_rows(
    connection: sqlite3.Connection, head: str, rows: Sequence[tuple[int | bytes | str | None, ...]], tail: str = ""
) -> None:
    """Run `head VALUES (…), (…) tail` for all rows, in their order.

    Args:
        connection: In a transaction.
        head: `INSERT INTO table (columns)`.
        rows: As many values each as there are columns.
        tail: What follows the values, such as `ON CONFLICT …`.

    Raises:
        sqlite3.Error: As the statement does.
    """
    start, size = 0, _ROWS_MAX
    while rows and size * len(rows[0]) > _PARAMETERS_MAX:
        size //= 2
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2  # So there are eight texts of each statement, which sqlite3 keeps compiled.
        values = list(chain.from_iterable(rows[start : start + size]))
        connection.execute(_statement(head, len(rows[0]), size, tail), values)
        start += size


@cache
def _statement(head: str, n_columns: int, n_rows: int, tail: str) -> str:
    row = f"({', '.join('?' * n_columns)})"
    return f"{head} VALUES {', '.join([row] * n_rows)} {tail}"
