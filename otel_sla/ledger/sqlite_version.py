"""Which SQLite is sound for a ledger that is read while it is written."""

import sqlite3

# Older ones may damage a file that several connections write and checkpoint at once (sqlite.org/wal.html, "WAL-reset").
SQLITE_VERSION_SOUND = (3, 51, 3)


def sqlite_warning() -> str | None:
    """Give a line for the log when this Python's SQLite is known to be unsound for that."""
    if sqlite3.sqlite_version_info >= SQLITE_VERSION_SOUND:
        return None
    sound = ".".join(map(str, SQLITE_VERSION_SOUND))
    return (
        f"SQLite {sqlite3.sqlite_version} can damage a database that two processes write and checkpoint at once"
        f" (mended in {sound}): let nothing but otel-sla write the ledger"
    )
