"""Published model versions, wherever they lie: each is there whole or not at all, checksummed, and one is active.

20261122-155500-1a2b/manifest.json   names the files beside it, with sizes and checksums
active                               what was activated, one name a line; the last serves
"""

from __future__ import annotations

import calendar
import hashlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from upnext.errors import ArtifactError

MANIFEST, ACTIVE = "manifest.json", "active"
VERSION = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
TICKS = 65_536  # a second: four hexadecimal digits
REMEMBERED = 100  # activations


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


class Models(ABC):
    """The model versions of one place. What a reader sees of them is whole, whoever else writes at the same time."""

    place: str  # a folder or a URL, as people know it
    look_s: float  # how often a server should look which version is active: looking may cost money

    # What a place has to do.

    @abstractmethod
    def draft(self) -> AbstractContextManager[Path]:
        """An empty folder to write a version's files into; deleted in the end unless it was published."""

    @abstractmethod
    def publish(self, draft: Path, manifest: Manifest, activate: bool = True) -> str:
        """Give the draft its manifest and its name, and make it the active version; returns the name.

        A reader sees the whole version or none of it, also after a power cut. Raises ArtifactError for a draft that
        is empty or holds links.
        """

    @abstractmethod
    def versions(self) -> list[str]:
        """Names of the published versions, oldest first."""

    @abstractmethod
    def check(self, version: str) -> Manifest:
        """What a version says of itself, after a look at its files where they lie. Raises as ``open``."""

    @abstractmethod
    def _folder(self, manifest: Manifest) -> Path:
        """Where the files are on this machine, each checked against its checksum. Raises ArtifactError."""

    @abstractmethod
    def _read_manifest(self, version: str) -> bytes | None: ...

    @abstractmethod
    def delete(self, version: str) -> None:
        """Gone at once for readers, whatever happens to us meanwhile."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """As long as it takes to move the pointer, where the place can keep others from doing so."""

    @abstractmethod
    def _pointer(self) -> tuple[bytes | None, int]:
        """What the pointer holds (None = nothing yet), and its turn."""

    @abstractmethod
    def _move(self, text: bytes, turn: int) -> bool:
        """Put ``text`` in the place of what the pointer held at ``turn``; False where somebody else was quicker."""

    # What is the same everywhere.

    def active(self) -> str | None:
        """The version that serves, None before the first was published."""
        history = self.history()
        return history[-1] if history else None

    def manifest(self, version: str) -> Manifest:
        """What a version says of itself; its files are not checked. Raises ArtifactError."""
        path = f"{self.place}/{version}"
        text = self._read_manifest(version) if VERSION.fullmatch(version) else None
        if text is None:
            raise ArtifactError(f"{path}: there is no such model version; {self._choices()}")
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]
            raise ArtifactError(f"{path}/{MANIFEST}: is damaged ({problem['msg']}); {self._choices()}") from None
        if manifest.version != version:
            raise ArtifactError(f"{path}/{MANIFEST}: belongs to version {manifest.version!r}; {self._choices()}")
        return manifest

    def history(self) -> list[str]:
        """The versions in the order in which they became active; the last one serves.

        It is one file with the pointer, so that both change together. A rollback takes the last line away.
        """
        return self._names(self._pointer()[0])

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
        with self.alone():
            self._point_to(version)

    def rollback(self) -> tuple[str, list[str]]:
        """Let the version that served before the active one serve again; returns it, and those passed over.

        Versions that were deleted or damaged since are passed over. Raises ArtifactError, and changes nothing,
        where no sound one is left.
        """
        with self.alone():
            while True:
                text, turn = self._pointer()
                kept, passed = self._before_the_last(self._names(text))
                if self._move(_lines(kept), turn):
                    return kept[-1], passed

    def open(self, version: str | None = None) -> tuple[Path, Manifest]:
        """The folder and manifest of a version (None = the active one), every file checked against its checksum.

        Raises ArtifactError that names the missing or damaged file and the remedy.
        """
        version = version or self.active()
        if version is None:
            raise ArtifactError(f"{self.place}: no model version is published yet. `upnext train` makes one.")
        manifest = self.manifest(version)
        return self._folder(manifest), manifest

    def prune(self, keep: int) -> list[str]:
        """Delete all but the latest ``keep`` versions; returns the names of the deleted.

        Never the active one, nor the one that a rollback would go back to.
        """
        history, versions = self.history(), self.versions()
        before = [name for name in history if name != history[-1] and name in versions]
        wanted = {*history[-1:], *before[-1:]}
        doomed = [name for name in versions[: max(len(versions) - keep, 0)] if name not in wanted]
        for name in doomed:
            self.delete(name)
        return doomed

    def _before_the_last(self, history: list[str]) -> tuple[list[str], list[str]]:
        """The history up to the sound version before the last one, and those passed over on the way."""
        passed: list[str] = []
        for place in range(len(history) - 2, -1, -1):
            if history[place] == history[-1]:
                continue
            try:
                self.open(history[place])
            except ArtifactError:
                passed.append(history[place])
                continue
            return history[: place + 1], passed
        was = f"; {', '.join(passed)}: deleted or damaged" if passed else ""
        raise ArtifactError(
            f"{self.place}: no other version was active before {history[-1] if history else 'any'}{was}. "
            f"`upnext models activate` takes any of: {self._others()}"
        )

    def _point_to(self, version: str) -> None:
        """Put the version at the end of the history; a damaged history is begun anew."""
        while True:
            text, turn = self._pointer()
            try:
                history = self._names(text)
            except ArtifactError:
                history = []
            if history[-1:] == [version] or self._move(_lines([*history, version]), turn):
                return

    def _names(self, text: bytes | None) -> list[str]:
        """The lines of the pointer. Raises ArtifactError where one is no name of a version."""
        if text is None:
            return []
        names = text.decode(errors="replace").split() or [""]
        for name in names:
            if not VERSION.fullmatch(name):
                raise ArtifactError(f"{self.place}/{ACTIVE}: names {name!r}, which is no version; {self._choices()}")
        return names

    def _refuse(self, version: str, name: str, damage: str | None) -> None:
        """Raises ArtifactError where there is damage."""
        if damage is not None:
            raise ArtifactError(f"{self.place}/{version}/{name}: {damage}; {self._choices()}")

    def _choices(self) -> str:
        return f"train anew (`upnext train`) or activate another version (there are: {self._others()})"

    def _others(self) -> str:
        return ", ".join(self.versions()) or "none"


def next_moment(latest: str | None) -> int:
    """Now, in ticks; later than the name of the ``latest`` version, also where the clock went back."""
    return max(int(time.time() * TICKS), 0 if latest is None else moment_of(latest) + 1)


def name_of(moment: int) -> str:
    """20261122-155500-1a2b: UTC, and the fraction of the second in hexadecimal, so that names sort by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(moment // TICKS))}-{moment % TICKS:04x}"


def moment_of(name: str) -> int:
    """The ticks that a version is named after."""
    day, _, fraction = name.rpartition("-")
    return calendar.timegm(time.strptime(day, "%Y%m%d-%H%M%S")) * TICKS + int(fraction, 16)


def complete(manifest: Manifest, moment: int, files: Mapping[str, FileEntry]) -> Manifest:
    """The manifest of a version that is published now."""
    changes = {"version": name_of(moment), "created_at": moment * 1000 // TICKS, "files": files}
    return manifest.model_copy(update=changes)


def written(manifest: Manifest) -> bytes:
    return manifest.model_dump_json(indent=1).encode()


def entries(draft: Path) -> dict[str, FileEntry]:
    """Every file of a draft by its path inside, with forward slashes.

    Raises ArtifactError where there is none; links are refused, for they could point anywhere.
    """
    found = {}
    for path in sorted(draft.rglob("*")):
        if path.is_symlink():
            raise ArtifactError(f"{path}: is a link; a model version holds plain files only")
        if path.is_file() and path != draft / MANIFEST:
            found[path.relative_to(draft).as_posix()] = _entry(path)
    if not found:
        raise ArtifactError(f"{draft}: has no files; a model version needs at least one")
    return found


def wrong_size(found: int | None, expected: FileEntry) -> str | None:
    """What is wrong with a file of so many bytes (None = there is none), as the rest of a sentence; None = nothing."""
    if found is None:
        return "is missing"
    return None if found == expected.bytes else f"is damaged, it has {found:,} bytes instead of {expected.bytes:,}"


def damage(path: Path, expected: FileEntry) -> str | None:
    """What is wrong with a file on this machine; None = nothing. Reads all of it."""
    try:
        found = _entry(path)
    except FileNotFoundError:
        return wrong_size(None, expected)
    differs = "is damaged, its checksum differs" if found.sha256 != expected.sha256 else None
    return wrong_size(found.bytes, expected) or differs


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileEntry(bytes=file.tell(), sha256=digest.hexdigest())


def _lines(names: list[str]) -> bytes:
    return "\n".join(names[-REMEMBERED:]).encode()
