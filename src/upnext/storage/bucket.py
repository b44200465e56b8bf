"""The objects below a URL such as s3://bucket/shop, by fsspec. What goes wrong is a StorageError that names the place.

Credentials, region and address of the service are those of its own tools: environment, files, the role of the machine.
"""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from upnext.errors import ConfigError, StorageError, StorageUnavailable
from upnext.storage.redacted import redacted

_LOG = logging.getLogger("upnext.storage")

SCHEMES = ("s3", "gs", "memory")
_BUCKET = re.compile(r"[a-z0-9A-Z][a-z0-9A-Z._-]{1,220}[a-z0-9A-Z]")

# Whether a service that went without a word is gone is known in seconds.
_S3 = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2, "mode": "standard"}}
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "s3": {"config_kwargs": _S3, "max_concurrency": 4, "use_listings_cache": False},
    "gs": {"use_listings_cache": False},
    "memory": {},
}
_AT_ONCE = 2  # files; each in up to max_concurrency parts of 50 MB, which are in memory

_REFUSED = ("NoCredentials", "PartialCredentials", "ProfileNotFound", "DefaultCredentials", "Refresh", "Token")
_LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

Found = TypeVar("Found")


class Bucket:
    """The objects below ``url``; their names are relative to it. Safe to use from several threads."""

    def __init__(self, url: str, setting: str, patience_s: float = 0.0) -> None:
        """Looks at nothing yet. Raises ConfigError, which names the ``setting``, for a URL that cannot be used.

        A service that is away is asked again for ``patience_s``, by whoever would lose hours of work to an outage.
        """
        scheme, _, rest = url.partition("://")
        name = rest.partition("/")[0]
        if "@" in rest or "?" in rest:
            raise ConfigError(
                f"{setting}: {redacted(url)!r} holds more than a bucket and a path. Credentials and the address of the "
                "service belong into the environment (docs/storage.md)."
            )
        if not _BUCKET.fullmatch(name):
            raise ConfigError(
                f"{setting}: {redacted(url)!r} names no bucket; expected a URL such as {scheme}://bucket/shop"
            )
        self.url, self._patience_s = url.rstrip("/"), patience_s
        self._files = _filesystem(scheme, setting)
        self._root = str(self._files._strip_protocol(self.url))

    def sizes(self, below: str = "") -> dict[str, int]:
        """Bytes of every object whose name begins with the folder ``below``."""
        listed = self._told(lambda: self._files.find(self._path(below), detail=True))
        return {
            self._name(path): int(entry["size"])
            for path, entry in listed.items()
            if entry["type"] == "file" and not path.endswith("/")
        }

    def read(self, name: str) -> bytes | None:
        """A small object; None where there is none."""
        with suppress(FileNotFoundError):
            return bytes(self._told(lambda: self._files.cat_file(self._path(name)), absent=True))
        return None

    def create(self, name: str, data: bytes) -> bool:
        """Write a small object unless there is one, at once; whether it holds ``data`` now."""
        try:
            self._told(lambda: self._files.pipe_file(self._path(name), data, mode="create"))
            return True
        except FileExistsError:
            return self.read(name) == data  # ours, if it was sent twice because the first answer was lost

    def upload(self, files: Mapping[str, Path]) -> None:
        """Files of this machine by the names of their objects."""
        sources, targets = [str(path) for path in files.values()], [self._path(name) for name in files]
        self._told(lambda: self._files.put(sources, targets, batch_size=_AT_ONCE))

    def download(self, files: Mapping[str, Path]) -> None:
        """Objects into files, whose folders are made. What ends early leaves a part: check, or delete it."""
        sources, targets = [self._path(name) for name in files], [str(path) for path in files.values()]
        self._told(lambda: self._files.get(sources, targets, batch_size=_AT_ONCE))

    def fetch(self, folder: Path) -> Path:
        """Copy all that lies below the URL into ``folder``, or the one object that it names; returns the copy's path.

        Raises StorageError where there is nothing.
        """
        target = folder / PurePosixPath(self._root).name
        names = self.sizes()
        if not names:
            raise StorageError(f"{self.url}: there is no such object, and none below it. Check the URL.")
        self.download({name: inside(target, name) if name else target for name in names})
        return target

    def delete(self, names: Iterable[str]) -> None:
        """One after the other; what is gone already is no error."""
        for name in names:
            with suppress(FileNotFoundError):
                self._told(lambda path: self._files.rm_file(path), self._path(name), absent=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _name(self, path: str) -> str:
        return path.removeprefix(self._root).lstrip("/")

    def _told(self, call: Callable[..., Found], *arguments: object, absent: bool = False) -> Found:
        """What ``call`` returns. Raises StorageError; FileExistsError; with ``absent`` also FileNotFoundError."""
        until, pause_s = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        while True:
            try:
                return self._once(call, *arguments, absent=absent)
            except StorageUnavailable as error:
                if time.monotonic() + pause_s > until:
                    raise
                if pause_s == FIRST_PAUSE_S:
                    _LOG.warning("tried again for up to %.0f min: %s", self._patience_s / 60, error)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _once(self, call: Callable[..., Found], *arguments: object, absent: bool) -> Found:
        try:
            return call(*arguments)
        except FileExistsError:
            raise
        except FileNotFoundError as error:
            if absent and _code(error) != "NoSuchBucket":
                raise
            raise StorageError(
                f"{self.url}: there is no such bucket, or an object just went away. Check the URL, or make the bucket."
            ) from error
        except Exception as error:  # each service has exceptions of its own
            if _code(error) in _TAKEN:
                raise FileExistsError from error
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> StorageError:
        name = type(error).__name__
        said = redacted(" ".join(str(error).split()))[:200] or name
        if isinstance(error, OSError) and error.errno in _LOCAL:
            return StorageError(f"{error.filename or 'the disk'}: cannot be written ({error.strerror}). Make room.")
        if isinstance(error, PermissionError) or name.startswith(_REFUSED):
            return StorageError(
                f"{self.url}: access is refused ({said}). Check the credentials in the environment and what they allow."
            )
        return StorageUnavailable(
            f"{self.url}: cannot be reached just now ({said}). Check the network and the address."
        )


def inside(folder: Path, name: str) -> Path:
    """Where in ``folder`` the object ``name`` goes. Raises StorageError for a name that leads out of it."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise StorageError(
            f"{name!r}: is the name of an object that cannot be a file. Rename it, or name a folder below."
        )
    return folder.joinpath(*parts)


def _filesystem(scheme: str, setting: str) -> Any:
    try:
        import fsspec

        return fsspec.filesystem(scheme, **_OPTIONS[scheme])
    except ImportError:
        extra = "s3" if scheme == "memory" else scheme  # which comes with fsspec
        raise ConfigError(
            f"{setting}: {scheme}:// needs packages that are not installed: pip install 'upnext[{extra}]'"
        ) from None


def _code(error: Exception) -> str:
    """What the service calls the error, where it says so (botocore's ClientError)."""
    response = getattr(error.__cause__ or error, "response", None)
    return str(response["Error"].get("Code")) if isinstance(response, dict) and "Error" in response else ""
