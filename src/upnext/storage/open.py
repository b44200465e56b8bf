"""``storage.log`` of the configuration -> a live log: the scheme of the URL chooses what stores it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from upnext.errors import ConfigError, StorageError
from upnext.storage.log import Log
from upnext.storage.sqlite import SQLiteLog

EXAMPLE = "sqlite:///var/log.db"


def open_log(url: str, home: Path) -> Log:
    """Open the log that ``url`` names; a relative path is inside ``home``. ConfigError for an unknown URL."""
    scheme, sign, rest = url.partition("://")
    if not sign:
        raise ConfigError(f"storage.log: {url!r} is no URL; expected one such as {EXAMPLE}")
    if scheme not in BACKENDS:
        near = difflib.get_close_matches(scheme, list(BACKENDS), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(f'{name}://' for name in BACKENDS)}"
        raise ConfigError(f"storage.log: {url!r} has the unknown scheme {scheme!r}; {hint}")
    return BACKENDS[scheme](rest, home)


def _open_sqlite(rest: str, home: Path) -> Log:
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
    return SQLiteLog(path)


BACKENDS: Mapping[str, Callable[[str, Path], Log]] = {"sqlite": _open_sqlite}
