"""``storage.log`` of the configuration -> a live log: the scheme of the URL chooses what stores it."""

from __future__ import annotations

import difflib
from pathlib import Path

from upnext.errors import ConfigError, StorageError
from upnext.storage.log import Log
from upnext.storage.postgres_url import redacted
from upnext.storage.sqlite import SQLiteLog
from upnext.storage.tables import Tables

EXAMPLE = "sqlite:///var/log.db"
BACKENDS = ("sqlite", "postgresql")


def open_log(url: str, home: Path) -> Log:
    """Open the log that ``url`` names; a relative path is inside ``home``. ConfigError for an unknown URL."""
    scheme, rest = _parsed(url)
    if scheme == "postgresql":
        from upnext.storage.postgres import PostgresLog  # the driver is an extra

        return PostgresLog(rest)
    return SQLiteLog(_sqlite_path(rest, home))


def open_tables(url: str, home: Path, new: bool) -> Tables:
    """The tables of the log that ``url`` names, to copy it whole; ``new`` ones may be made."""
    scheme, rest = _parsed(url)
    if scheme == "postgresql":
        from upnext.storage.postgres_tables import PostgresTables

        return PostgresTables(rest)
    from upnext.storage.sqlite_tables import SQLiteTables

    path = _sqlite_path(rest, home)
    if not new and not path.exists():
        raise StorageError(f"{path}: there is no log. Check the path; one in a home is named as {EXAMPLE}.")
    return SQLiteTables(path)


def _parsed(url: str) -> tuple[str, str]:
    """The scheme, a known one, and what follows it."""
    scheme, sign, rest = url.partition("://")
    if not sign:
        raise ConfigError(f"storage.log: {redacted(url)!r} is no URL; expected one such as {EXAMPLE}")
    if scheme not in BACKENDS:
        near = difflib.get_close_matches(scheme, BACKENDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(f'{name}://' for name in BACKENDS)}"
        raise ConfigError(f"storage.log: {redacted(url)!r} has the unknown scheme {scheme!r}; {hint}")
    return scheme, rest


def _sqlite_path(rest: str, home: Path) -> Path:
    """``/var/log.db`` is relative to the home; ``//data/log.db`` (four slashes in all) is absolute."""
    if not rest.startswith("/") or rest.rstrip("/") == "":
        raise ConfigError(
            f"storage.log: 'sqlite://{rest}' names no file; expected three slashes and a path, such as {EXAMPLE}"
        )
    path = home / rest[1:]
    if path.is_dir():
        raise ConfigError(f"storage.log: {path} is a folder; expected a file in it, such as {path / 'log.db'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{path.parent}: cannot be made ({error.strerror}). Check the path in storage.log."
        ) from error
    return path
