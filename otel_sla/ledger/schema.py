"""The tables, and the migrations that lead to them.

Counts live in three tables. Commits add rows to `counts`; `seal` moves whole hours on to `packing`, one blob for each
series and day, and whole days from there to `packed`, where blobs no longer grow and fill their pages. All three may
hold the same minute of a series; its total is their sum. `packed_id` is day << 32 | series_id, so that a new day is
appended and retention drops a range.
"""

import secrets
import sqlite3
import uuid
from pathlib import Path

from otel_sla.errors import LedgerCorrupt, LedgerSchemaNewer
from otel_sla.ledger.counts_table import fill_first_minutes
from otel_sla.ledger.faults import RESTORE

APPLICATION_ID = 0x6F534C41  # "oSLA"
SCHEMA_VERSION = 6

_V1 = """
CREATE TABLE ledger (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    instance_id TEXT NOT NULL,
    fingerprint_seed BLOB NOT NULL,
    judged_before INTEGER,
    told_before INTEGER,
    sealed_before INTEGER,
    exclusion_change INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE series (
    series_id INTEGER PRIMARY KEY,
    agreement TEXT NOT NULL,
    is_overflow INTEGER NOT NULL,
    first_data_minute INTEGER,
    revision INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE series_group (
    series_id INTEGER NOT NULL REFERENCES series,
    place INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (series_id, place)
) WITHOUT ROWID;
CREATE TABLE counts (
    epoch_minute INTEGER NOT NULL CHECK (epoch_minute >= 0),
    series_id INTEGER NOT NULL REFERENCES series,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    invalid INTEGER NOT NULL,
    PRIMARY KEY (epoch_minute, series_id)
) WITHOUT ROWID;
CREATE TABLE packing (
    packed_id INTEGER PRIMARY KEY,
    counts BLOB NOT NULL
);
CREATE TABLE packed (
    packed_id INTEGER PRIMARY KEY,
    counts BLOB NOT NULL
);
CREATE TABLE reopened (
    series_id INTEGER NOT NULL REFERENCES series,
    epoch_minute INTEGER NOT NULL,
    succeeded_before INTEGER NOT NULL,
    failed_before INTEGER NOT NULL,
    invalid_before INTEGER NOT NULL,
    PRIMARY KEY (series_id, epoch_minute)
) WITHOUT ROWID;
CREATE TABLE fingerprints (
    newest_minute INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    PRIMARY KEY (newest_minute, fingerprint)
) WITHOUT ROWID;
CREATE TABLE positions (
    source TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE events (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    time_unix_nano INTEGER NOT NULL,
    severity INTEGER NOT NULL,
    body TEXT NOT NULL,
    attributes TEXT NOT NULL
);
CREATE TABLE cursors (
    exporter TEXT PRIMARY KEY,
    event_id INTEGER NOT NULL,
    exported_before INTEGER,
    retold_id INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE retold (
    retold_id INTEGER PRIMARY KEY AUTOINCREMENT,
    series_id INTEGER NOT NULL REFERENCES series,
    start_minute INTEGER NOT NULL,
    stop_minute INTEGER NOT NULL
);
CREATE TABLE set_aside (
    exporter TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at_unix_nano INTEGER NOT NULL,
    PRIMARY KEY (exporter, event_id)
) WITHOUT ROWID;
CREATE TABLE exclusions (
    exclusion_id INTEGER PRIMARY KEY AUTOINCREMENT,
    change INTEGER NOT NULL UNIQUE,
    agreement TEXT NOT NULL,
    reason TEXT NOT NULL,
    start TEXT NOT NULL,
    stop TEXT NOT NULL,
    group_values TEXT,
    announced_at TEXT,
    note TEXT NOT NULL,
    recorded_by TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    figures_before TEXT
);
CREATE TABLE withdrawals (
    exclusion_id INTEGER PRIMARY KEY REFERENCES exclusions,
    change INTEGER NOT NULL UNIQUE,
    withdrawn_by TEXT NOT NULL,
    withdrawn_at TEXT NOT NULL,
    why TEXT NOT NULL,
    figures_before TEXT
);
CREATE TABLE agreement_versions (
    agreement TEXT NOT NULL,
    version INTEGER NOT NULL,
    terms TEXT NOT NULL,
    since_minute INTEGER NOT NULL,
    PRIMARY KEY (agreement, version)
) WITHOUT ROWID;
CREATE TABLE closed_months (
    agreement TEXT NOT NULL,
    series_id INTEGER NOT NULL REFERENCES series,
    month TEXT NOT NULL,
    revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    figures TEXT NOT NULL,
    closed_unix_nano INTEGER NOT NULL,
    PRIMARY KEY (agreement, series_id, month, revision)
) WITHOUT ROWID;
"""

# The terms by which the minutes of open months were published.
_V2 = """
CREATE TABLE told_terms (
    agreement TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO told_terms SELECT agreement, max(version) FROM agreement_versions GROUP BY agreement;
"""

# Counts of earlier minutes are dropped.
_V3 = """
ALTER TABLE ledger ADD COLUMN expired_before INTEGER NOT NULL DEFAULT 0;
"""

# Fingerprints before they are sorted into their table, many in one row (`fingerprints.py`).
_V4 = """
CREATE TABLE fingerprint_log (
    log_id INTEGER PRIMARY KEY,
    fingerprints BLOB NOT NULL
);
"""

# Refused figures, which are stored nowhere themselves; one row for each exporter.
_V5 = """
CREATE TABLE refused_points (
    exporter TEXT PRIMARY KEY,
    count INTEGER NOT NULL,
    first_minute INTEGER NOT NULL,
    last_minute INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at_unix_nano INTEGER NOT NULL
) WITHOUT ROWID;
"""

# The other columns of `counts.Count`, the first minute of each series, retired series, and which version of an
# agreement's terms counted which minutes.
_V6 = """
ALTER TABLE counts ADD COLUMN spared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counts ADD COLUMN sampled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counts ADD COLUMN thresholded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counts ADD COLUMN succeeded_excess INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counts ADD COLUMN failed_excess INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counts ADD COLUMN invalid_excess INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reopened ADD COLUMN spared_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reopened ADD COLUMN sampled_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reopened ADD COLUMN thresholded_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reopened ADD COLUMN succeeded_excess_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reopened ADD COLUMN failed_excess_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reopened ADD COLUMN invalid_excess_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN first_minute INTEGER;
ALTER TABLE series ADD COLUMN retired_minute INTEGER;
CREATE TABLE counted_days (
    agreement TEXT NOT NULL,
    version INTEGER NOT NULL,
    day INTEGER NOT NULL,
    first_minute INTEGER NOT NULL,
    last_minute INTEGER NOT NULL,
    PRIMARY KEY (agreement, version, day)
) WITHOUT ROWID;
-- For earlier counts only the time of recording each version is known: one row for each version, of day -1.
INSERT INTO counted_days SELECT agreement, version, -1,
    CASE version WHEN 1 THEN 0 ELSE since_minute END,
    coalesce(
        (SELECT next.since_minute FROM agreement_versions AS next
            WHERE next.agreement = this.agreement AND next.version = this.version + 1),
        (SELECT max(coalesce(judged_before, 0), coalesce((SELECT max(epoch_minute) + 1 FROM counts), 0)) FROM ledger)
    ) - 1
    FROM agreement_versions AS this;
"""

# Each leads from the version of its index to the next one. A released one is never changed.
MIGRATIONS = (_V1, _V2, _V3, _V4, _V5, _V6)

TABLES = frozenset(
    statement.split()[2]
    for step in MIGRATIONS
    for statement in step.split(";")
    if statement.strip().startswith("CREATE TABLE")
)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables of a new ledger, or migrate an older one, in one transaction.

    Args:
        connection: To the file.
        path: Of the file.

    Raises:
        LedgerCorrupt: The file belongs to another program, or tables are missing.
        LedgerSchemaNewer: A newer otel-sla wrote it.
    """
    version = checked_version(connection, path)
    if version == SCHEMA_VERSION:
        return
    connection.execute("BEGIN EXCLUSIVE")
    for step in MIGRATIONS[version:]:
        for statement in step.split(";"):
            connection.execute(statement)
    fill_first_minutes(connection)  # Part of step 6 that SQL cannot say; finds nothing to do later.
    if version == 0:
        connection.execute(
            "INSERT INTO ledger (only, instance_id, fingerprint_seed) VALUES (1, ?, ?)",
            (str(uuid.uuid4()), secrets.token_bytes(8)),
        )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """Give the schema's version; 0 for an empty file.

    Raises:
        LedgerCorrupt: The file belongs to another program, or tables are missing.
        LedgerSchemaNewer: A newer otel-sla wrote it.
    """
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables and application_id == 0 and version == 0:
        return 0
    if application_id != APPLICATION_ID:
        raise LedgerCorrupt(
            f"{path} is a database of another program (application_id {application_id:#x})",
            "set ledger.url to a file of its own",
        )
    if version > SCHEMA_VERSION:
        raise LedgerSchemaNewer(
            f"the ledger {path} has schema {version}, this otel-sla knows {SCHEMA_VERSION}",
            "run the newer otel-sla that wrote it",
        )
    missing = TABLES - tables
    if version == SCHEMA_VERSION and missing:
        raise LedgerCorrupt(f"the ledger {path} lacks its table {min(missing)}", RESTORE)
    return int(version)
