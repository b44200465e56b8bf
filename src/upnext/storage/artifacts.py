"""Published model versions: folders that appear whole or not at all, checksummed, with a pointer to the active one.

models/20261122-155500-1a2b/manifest.json   beside the files that it lists
models/active                               what was activated, one name a line; the last serves
models/.draft-*                             being written; without effect until published
"""

from __future__ import annotations

import calendar
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from upnext.errors import ArtifactError

MANIFEST, ACTIVE = "manifest.json", "active"
_VERSION = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
_DRAFT = ".draft-"
_TICKS = 65_536  # a second: four hexadecimal digits
_CHECKED_AT_ONCE = 2
_REMEMBERED = 100  # activations


class FileEntry(BaseModel):
    """Size and checksum of one file of a version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a model version was made from and what it is good for. ``publish`` fills in version, time and files."""

    model_config = ConfigDict(frozen=True)  # unknown keys of a later upnext are kept out of the way, not refused

    version: str = ""
    created_at: int = Field(0, description="Unix ms.")
    upnext: str = Field("", description="The version of the program that trained it.")
    first_offset: int = Field(-1, description="The first event of the log that was learned from; -1 = none.")
    last_offset: int = Field(-1, description="The last one; serving tails the log from here.")
    from_ms: int = Field(0, description="received_at of the first event, Unix ms.")
    until_ms: int = Field(0, description="Events received before this moment were learned from, Unix ms.")
    events: int = Field(0, description="How many events were learned from.")
    config_digest: str = ""
    feature_names: tuple[str, ...] = ()
    feature_digest: str = ""
    tasks: tuple[str, ...] = ()
    items_revision: int = Field(0, description="Items of a later revision of the catalogue are embedded anew.")
    metrics: Mapping[str, Any] = Field(default_factory=dict)
    seeds: Mapping[str, int] = Field(default_factory=dict)
    details: Mapping[str, Any] = Field(default_factory=dict, description="Whatever else a model needs to be told.")
    files: Mapping[str, FileEntry] = Field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(entry.bytes for entry in self.files.values())


class Models:
    """The model versions in ``directory``, which is made when first published to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """An empty folder to write a version's files into; deleted in the end unless it was published."""
        with self._alone():
            folder = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self.directory))
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)  # held as long as the process lives: leftovers are those nobody holds
        try:
            yield folder
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, draft: Path, manifest: Manifest, activate: bool = True) -> str:
        """Give the draft its manifest and its name, and make it the active version; returns the name.

        A reader sees the whole version or none of it, also after a power cut.
        """
        files = {name: _entry(draft / name) for name in _files(draft)}
        if not files:
            raise ArtifactError(f"{draft}: has no files; a model version needs at least one")
        for path in [*(draft / name for name in files), *(path for path in draft.rglob("*") if path.is_dir())]:
            _sync(path)
        with self._alone():
            self._sweep()
            moment = max(int(time.time() * _TICKS), *(_moment(name) + 1 for name in self.versions()[-1:]), 0)
            changes = {"version": _name(moment), "created_at": moment * 1000 // _TICKS, "files": files}
            (draft / MANIFEST).write_text(manifest.model_copy(update=changes).model_dump_json(indent=1), "utf-8")
            _sync(draft / MANIFEST)
            draft.chmod(0o755)  # a temporary folder is private
            _sync(draft)
            draft.rename(self.directory / _name(moment))
            _sync(self.directory)
            if activate:
                self._point_to(_name(moment))
        return _name(moment)

    def versions(self) -> list[str]:
        """Names of the published versions, oldest first."""
        if not self.directory.is_dir():
            return []
        entries = [entry.name for entry in self.directory.iterdir() if (entry / MANIFEST).is_file()]
        return sorted(name for name in entries if _VERSION.fullmatch(name))

    def active(self) -> str | None:
        """The version that serves, None before the first was published."""
        history = self.history()
        return history[-1] if history else None

    def manifest(self, version: str) -> Manifest:
        """What a version says of itself; its files are not checked. Raises ArtifactError."""
        return self._manifest(self.directory / version)

    def history(self) -> list[str]:
        """The versions in the order in which they became active; the last one serves.

        It is one file with the pointer, so that both change together. A rollback takes the last line away.
        """
        try:
            text = (self.directory / ACTIVE).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        names = text.split() or [""]
        for name in names:
            if not _VERSION.fullmatch(name):
                raise ArtifactError(
                    f"{self.directory / ACTIVE}: names {name!r}, which is no version; {self._choices()}"
                )
        return names

    def find(self, name: str) -> str:
        """The one version whose name begins with ``name``. Raises ArtifactError where there is none, or several."""
        found = [version for version in self.versions() if version.startswith(name)] if name else []
        if len(found) > 1 and name not in found:
            raise ArtifactError(f"{name!r} may be any of {', '.join(found)}; write more of the name")
        if not found:
            raise ArtifactError(f"{name!r}: there is no such model version; there are: {self._others()}")
        return name if name in found else found[0]

    def activate(self, version: str) -> None:
        """Let ``version`` serve, after all its files were checked."""
        self.open(version)
        with self._alone():
            self._point_to(version)

    def rollback(self) -> tuple[str, list[str]]:
        """Let the version that served before the active one serve again; returns it, and those passed over.

        Versions that were deleted or damaged since are passed over. Raises ArtifactError, and changes nothing,
        where no sound one is left.
        """
        passed: list[str] = []
        with self._alone():
            history = self.history()
            for place in range(len(history) - 2, -1, -1):
                if history[place] == history[-1]:
                    continue
                try:
                    self.open(history[place])
                except ArtifactError:
                    passed.append(history[place])
                    continue
                self._write_history(history[: place + 1])
                return history[place], passed
        was = f"; {', '.join(passed)}: deleted or damaged" if passed else ""
        raise ArtifactError(
            f"{self.directory}: no other version was active before {history[-1] if history else 'any'}{was}. "
            f"`upnext models activate` takes any of: {self._others()}"
        )

    def open(self, version: str | None = None) -> tuple[Path, Manifest]:
        """The folder and manifest of a version (None = the active one), every file checked against its checksum.

        Raises ArtifactError that names the missing or damaged file and the remedy.
        """
        version = version or self.active()
        if version is None:
            raise ArtifactError(f"{self.directory}: no model version is published yet. `upnext train` makes one.")
        folder = self.directory / version
        if not _VERSION.fullmatch(version) or not folder.is_dir():
            raise ArtifactError(f"{folder}: there is no such model version; {self._choices()}")
        manifest = self._manifest(folder)
        with ThreadPoolExecutor(_CHECKED_AT_ONCE) as pool:  # hashing lets other threads go on
            for _ in pool.map(lambda entry: self._check(folder / entry[0], entry[1]), manifest.files.items()):
                pass
        return folder, manifest

    def prune(self, keep: int) -> list[str]:
        """Delete all but the latest ``keep`` versions; returns the names of the deleted.

        Never the active one, nor the one that a rollback would go back to.
        """
        history, versions = self.history(), self.versions()
        before = [name for name in history if name != history[-1] and name in versions]
        wanted = {*history[-1:], *before[-1:]}
        doomed = [name for name in versions[: max(len(versions) - keep, 0)] if name not in wanted]
        for name in doomed:
            with self.draft() as trash:  # gone at once for readers, whatever happens to us now
                (self.directory / name).rename(trash / name)
        return doomed

    def _manifest(self, folder: Path) -> Manifest:
        path = folder / MANIFEST
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ArtifactError(f"{path}: is missing; {self._choices()}") from None
        except ValidationError as error:
            problem = error.errors()[0]
            raise ArtifactError(f"{path}: is damaged ({problem['msg']}); {self._choices()}") from None
        if manifest.version != folder.name:
            raise ArtifactError(f"{path}: belongs to version {manifest.version!r}; {self._choices()}")
        return manifest

    def _check(self, path: Path, expected: FileEntry) -> None:
        try:
            found = _entry(path)
        except FileNotFoundError:
            raise ArtifactError(f"{path}: is missing; {self._choices()}") from None
        if found.bytes != expected.bytes:
            sizes = f"{found.bytes:,} bytes instead of {expected.bytes:,}"
            raise ArtifactError(f"{path}: is damaged, it has {sizes}; {self._choices()}")
        if found.sha256 != expected.sha256:
            raise ArtifactError(f"{path}: is damaged, its checksum differs; {self._choices()}")

    def _choices(self) -> str:
        return f"train anew (`upnext train`) or activate another version (there are: {self._others()})"

    def _others(self) -> str:
        return ", ".join(self.versions()) or "none"

    def _point_to(self, version: str) -> None:
        """Put the version at the end of the history; a damaged history is begun anew."""
        try:
            history = self.history()
        except ArtifactError:
            history = []
        if history[-1:] != [version]:
            self._write_history([*history, version])

    def _write_history(self, names: list[str]) -> None:
        pointer = self.directory / f"{_DRAFT}{ACTIVE}"
        pointer.write_text("\n".join(names[-_REMEMBERED:]), "utf-8")
        _sync(pointer)
        pointer.replace(self.directory / ACTIVE)
        _sync(self.directory)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time names versions, moves the pointer, and makes or sweeps away drafts."""
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        """Delete the drafts of processes that were killed: nobody holds their lock."""
        for leftover in self.directory.glob(f"{_DRAFT}*/"):
            descriptor = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover, ignore_errors=True)
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)


def _name(moment: int) -> str:
    """20261122-155500-1a2b: UTC, and the fraction of the second in hexadecimal, so that names sort by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(moment // _TICKS))}-{moment % _TICKS:04x}"


def _moment(name: str) -> int:
    day, _, fraction = name.rpartition("-")
    return calendar.timegm(time.strptime(day, "%Y%m%d-%H%M%S")) * _TICKS + int(fraction, 16)


def _files(folder: Path) -> list[str]:
    """Paths of all files inside, with forward slashes; links are refused, for they could point anywhere."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ArtifactError(f"{path}: is a link; a model version holds plain files only")
        if path.is_file() and path != folder / MANIFEST:
            found.append(path.relative_to(folder).as_posix())
    return found


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileEntry(bytes=file.tell(), sha256=digest.hexdigest())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
