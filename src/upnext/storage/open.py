"""``storage.log`` and ``storage.models`` of the configuration -> what they name; the scheme of the URL chooses."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from upnext.errors import ConfigError, StorageError
from upnext.storage.artifacts import Models
from upnext.storage.artifacts_folder import FolderModels
from upnext.storage.bucket import SCHEMES, Bucket
from upnext.storage.log import Log
from upnext.storage.redacted import redacted
from upnext.storage.sqlite import SQLiteLog
from upnext.storage.tables import Tables

EXAMPLE = "sqlite:///var/log.db"
FILE = "file://"
BACKENDS = ("sqlite", "postgresql")
CACHE = Path("var", "cache", "models")  # of versions that lie in a bucket


def open_log(url: str, home: Path) -> Log:
    """Open the log that ``url`` names; a relative path is inside ``home``. ConfigError for an unknown URL."""
    scheme, rest = _parsed(url)
    if scheme == "postgresql":
        from upnext.storage.postgres import PostgresLog  # the driver is an extra

        return PostgresLog(rest)
    return SQLiteLog(_sqlite_path(rest, home))


def open_models(place: str, home: Path, patience_s: float = 0.0) -> Models:
    """The model versions in a folder (a relative path is inside ``home``) or bucket. ConfigError for an unknown URL.

    ``patience_s`` is how long a bucket that is away is asked again.
    """
    bucket = open_bucket(place, "storage.models", patience_s)
    if bucket is None:
        return FolderModels(home / place.removeprefix(FILE))
    from upnext.storage.artifacts_bucket import BucketModels

    return BucketModels(bucket, home / CACHE)


def open_bucket(place: str, setting: str, patience_s: float = 0.0) -> Bucket | None:
    """The bucket that a URL names; None for a path, also file:///a/path. ConfigError, with ``setting``, for others."""
    scheme, sign, _ = place.partition("://")
    if not sign or place.startswith(FILE):
        return None
    _known(scheme, ("file", *SCHEMES), setting, place)
    return Bucket(place, setting, patience_s)


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
    _known(scheme, BACKENDS, "storage.log", url)
    return scheme, rest


def _known(scheme: str, schemes: Sequence[str], setting: str, url: str) -> None:
    if scheme in schemes:
        return
    near = difflib.get_close_matches(scheme, schemes, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(f'{name}://' for name in schemes)}"
    raise ConfigError(f"{setting}: {redacted(url)!r} has the unknown scheme {scheme!r}; {hint}")


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
