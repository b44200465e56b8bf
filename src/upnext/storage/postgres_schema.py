"""How the log lies in PostgreSQL: the tables, the version, and text as the server can hold it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from upnext.errors import StorageError
from upnext.storage.postgres_client import Pool, Session
from upnext.storage.postgres_url import Address

SCHEMA_VERSION = 1
READ_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"  # each statement sees what was committed before it
ONE_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_MAKING = 0x75704E78  # the lock under which tables are made

# Codes are given one after the other and never twice; rows are never deleted. The item and user tables are the code
# tables of their ids, as in SQLite. Wide columns first, so that a row has no gaps.
TABLES = """
CREATE TABLE meta (name text PRIMARY KEY, value bigint NOT NULL);
INSERT INTO meta SELECT 'identity', ('x' || substr(replace(gen_random_uuid()::text, '-', ''), 17))::bit(64)::bigint
  & 9223372036854775807;
INSERT INTO meta VALUES ('revision', 0), ('application', {application}), ('schema_version', {version});
CREATE TABLE surfaces (code integer PRIMARY KEY, id text COLLATE "C" NOT NULL UNIQUE);
INSERT INTO surfaces VALUES (0, '');
CREATE TABLE event_types (code integer PRIMARY KEY, id text COLLATE "C" NOT NULL UNIQUE);
CREATE TABLE items (
  code integer PRIMARY KEY, id text COLLATE "C" NOT NULL UNIQUE, deleted boolean NOT NULL DEFAULT false,
  revision bigint NOT NULL, title text, author text, categories text, duration double precision, published_at bigint,
  available boolean, vector bytea, attributes text);
CREATE INDEX items_revision ON items (revision, code);
CREATE TABLE users (
  code integer PRIMARY KEY, id text COLLATE "C" NOT NULL UNIQUE, deleted boolean NOT NULL DEFAULT false,
  revision bigint NOT NULL, attributes text, blocked_authors text);
CREATE INDEX users_revision ON users (revision, code);
CREATE TABLE events (
  "offset" bigint PRIMARY KEY, key_high bigint NOT NULL, key_low bigint NOT NULL, happened_at bigint NOT NULL,
  received_at bigint, value double precision, recommendation bigint, as_of bigint, "user" integer NOT NULL,
  item integer NOT NULL, type smallint NOT NULL, surface smallint NOT NULL, position smallint, event_id text,
  session_id text, recommendation_id text, context text);
CREATE UNIQUE INDEX events_key ON events (key_high, key_low);
CREATE INDEX events_user ON events ("user", "offset")
"""
PG_TYPES = {
    pl.String(): "text",
    pl.Int64(): "bigint",
    pl.Int32(): "integer",
    pl.Int16(): "smallint",
    pl.Float64(): "double precision",
    pl.Boolean(): "boolean",
    pl.Binary(): "bytea",
}


def prepare(pool: Pool) -> None:
    """Make the tables where there are none; refuse a schema that is not this program's or is newer than it."""
    if _settled(pool.rows("SELECT to_regclass('meta') IS NOT NULL AS made"), pool):
        return
    with pool.transaction(READ_WRITE) as session:
        session.rows(f"SELECT pg_advisory_xact_lock({_MAKING})::text")  # of several that open a new one, one makes it
        if _count(session, "SELECT count(*) AS n FROM pg_class WHERE relnamespace = to_regnamespace(current_schema())"):
            if not _count(session, "SELECT count(to_regclass('meta')) AS n"):
                raise _foreign(pool.address)
            return
        session.rows(f"CREATE SCHEMA IF NOT EXISTS {pool.address.schema}")
        for statement in TABLES.format(application=_MAKING, version=SCHEMA_VERSION).split(";\n"):
            session.rows(statement)


def _settled(found: pl.DataFrame, pool: Pool) -> bool:
    if not found["made"][0]:
        return False
    columns = pool.rows(
        "SELECT count(*) AS n FROM pg_attribute WHERE attrelid = to_regclass('meta') AND attname IN ('name', 'value')"
    )
    meta = dict(pool.rows("SELECT name, value FROM meta").iter_rows()) if columns["n"][0] == 2 else {}
    if meta.get("application") != _MAKING:
        raise _foreign(pool.address)
    if meta["schema_version"] > SCHEMA_VERSION:
        raise StorageError(
            f"{pool.address.shown}: has schema version {meta['schema_version']}, this upnext knows {SCHEMA_VERSION}. "
            "It was written by a newer upnext: upgrade this one (pip install -U upnext)."
        )
    return True


def _foreign(address: Address) -> StorageError:
    return StorageError(
        f"{address.shown}: the schema {address.schema!r} holds another program's tables. "
        "Name one of its own in storage.log, such as ?schema=shop."
    )


def _count(session: Session, query: str) -> int:
    return int(session.rows(query)["n"][0])


def escaped(text: pl.Series) -> pl.Series:
    """Text as PostgreSQL can hold it: it has no character 0, which becomes ␀0, and ␀ itself ␀␀."""
    if not text.str.contains("[\x00␀]").any():  # nearly always
        return text
    return text.str.replace_many(["␀", "\x00"], ["␀␀", "␀0"])


def unescaped(text: pl.Series) -> pl.Series:
    """The inverse of ``escaped``."""
    return text.str.replace_many(["␀␀", "␀0"], ["␀", "\x00"]) if text.str.contains("␀", literal=True).any() else text


def arrays(columns: Sequence[pl.Series]) -> pl.DataFrame:
    """What ``unnest($1::...[], ...)`` takes: one row, a list a column."""
    parts = [escaped(column) if column.dtype == pl.String else column for column in columns]
    return pl.DataFrame([column.implode().alias(column.name) for column in parts])


def unnest(columns: Sequence[pl.Series]) -> str:
    """The rows of ``arrays(columns)`` as the source of a statement."""
    return f"unnest({', '.join(f'${n}::{PG_TYPES[column.dtype]}[]' for n, column in enumerate(columns, 1))})"
