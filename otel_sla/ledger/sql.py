"""Statements made from column names, and the text of JSON columns."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from itertools import chain
from typing import Any

_PARAMETERS_MAX = 999  # SQLite takes as many at least.
_ROWS_MAX = 128  # In one statement.


def write_rows(
    connection: sqlite3.Connection, head: str, rows: Sequence[tuple[int | bytes | str | None, ...]], tail: str = ""
) -> None:
    """Run `head VALUES (…), (…) tail` for all rows, in their order, by few statements.

    `executemany` takes one step of SQLite for each row, and Python's sqlite3 releases the interpreter's lock for each
    step. Beside a busy event loop both threads pay for each change of hands: a commit of 80 rows took twice the CPU
    time that it takes in eight statements.

    Args:
        connection: In a transaction.
        head: `INSERT INTO table (columns)`.
        rows: As many values each as there are columns.
        tail: What follows the values, such as `ON CONFLICT …`.
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


@cache
def columns_of(record: Any) -> str:  # noqa: ANN401 - the class of a record
    """Give the columns that bear the names of a dataclass's fields, separated by ", "."""
    return ", ".join(field.name for field in fields(record))


def insert_into(table: str, columns: str) -> str:
    """Give the statement that inserts one row; `columns` are separated by ", "."""
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(columns.split(', ')))})"  # noqa: S608 - ours


def to_json(value: Any) -> str | None:  # noqa: ANN401 - what JSON has
    """Give JSON text that is the same for the same value; None for None."""
    return None if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))


def from_json(text: str | None) -> Any:  # noqa: ANN401 - what JSON has
    """Undo `to_json`."""
    return None if text is None else json.loads(text)
