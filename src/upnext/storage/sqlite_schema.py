"""How the log lies in SQLite: the tables, the version, and what a broken file says to its user."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from upnext.errors import StorageError

SCHEMA_VERSION = 1
APPLICATION_ID = 0x75704E78  # "upNx", so that another program's database is never written to
BUSY_SECONDS = 60.0
COMMIT_CHECKPOINTS_PAGES = 16_384  # 64 MiB: long before that ``sqlite_checkpoints`` has done it

# Codes are row numbers that are never given twice: rows are never deleted. The item and user tables are the code
# tables of their ids, so that an item known only from events has a row of nulls.
TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('revision', 0);
INSERT INTO meta VALUES ('identity', abs(random()));
CREATE TABLE surfaces (code INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
INSERT INTO surfaces VALUES (0, '');
CREATE TABLE event_types (code INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE items (
  code INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, deleted INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL,
  title TEXT, author TEXT, categories TEXT, duration REAL, published_at INTEGER, available INTEGER, vector BLOB,
  attributes TEXT);
CREATE INDEX items_revision ON items (revision);
CREATE TABLE users (
  code INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, deleted INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL,
  attributes TEXT, blocked_authors TEXT);
CREATE INDEX users_revision ON users (revision);
CREATE TABLE events (
  offset INTEGER PRIMARY KEY, key_high INTEGER NOT NULL, key_low INTEGER NOT NULL, type INTEGER NOT NULL,
  user INTEGER NOT NULL, item INTEGER NOT NULL, happened_at INTEGER NOT NULL, received_at INTEGER, value REAL,
  position INTEGER, surface INTEGER NOT NULL, recommendation INTEGER, as_of INTEGER, event_id TEXT, session_id TEXT,
  recommendation_id TEXT, context TEXT);
CREATE UNIQUE INDEX events_key ON events (key_high, key_low);
"""


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on disk when they return (WAL with synchronous=FULL)."""
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _use_wal(db)
        for pragma in (
            "synchronous=FULL",
            "cache_size=-65536",
            "temp_store=MEMORY",
            "journal_size_limit=67108864",
            f"wal_autocheckpoint={COMMIT_CHECKPOINTS_PAGES}",
        ):
            db.execute(f"PRAGMA {pragma}")
    except BaseException:
        db.close()
        raise
    return db


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty file; refuse a file that is not this program's or is newer than it."""
    if _version(db) == SCHEMA_VERSION and _application(db) == APPLICATION_ID:
        if not db.execute("SELECT count(*) FROM meta WHERE name = 'identity'").fetchone()[0]:  # of an earlier upnext
            db.execute("INSERT OR IGNORE INTO meta VALUES ('identity', abs(random()))")
        return
    db.execute("BEGIN IMMEDIATE")  # of several processes that open a new file at once, one makes the tables
    try:
        version = _version(db)
        foreign = _application(db) != APPLICATION_ID and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if foreign:
            raise StorageError(
                f"{path}: is a SQLite database of another program. Point storage.log to a file of its own."
            )
        if version > SCHEMA_VERSION:
            raise StorageError(
                f"{path}: has schema version {version}, this upnext knows {SCHEMA_VERSION}. "
                "It was written by a newer upnext: upgrade this one (pip install -U upnext)."
            )
        if version == 0:
            for statement in TABLES.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def explain(error: sqlite3.Error, path: Path) -> StorageError:
    """The sentence for a SQLite error: what happened to the file, and the remedy."""
    text = str(error)
    if "not a database" in text or "malformed" in text:
        remedy = "The file is damaged or no log. Restore it from a backup, or move it away and import again."
    elif "locked" in text or "busy" in text:
        remedy = f"Another process has been writing for {BUSY_SECONDS:.0f} s. Wait for it to end, then try again."
    elif "full" in text:
        remedy = "Free some disk space, then try again; nothing of this call was written."
    elif "unable to open" in text or "readonly" in text or "read-only" in text:
        remedy = "Check that its folder exists and that this user may write to both."
    elif "closed" in text:
        remedy = "The log was closed; open it again."
    else:
        remedy = "Nothing of this call was written."
    return StorageError(f"{path}: {text}. {remedy}")


def _use_wal(db: sqlite3.Connection) -> None:
    """Switching a new file to WAL needs it alone for a moment, and does not wait by itself."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _application(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA application_id").fetchone()[0])
