"""Model versions in a bucket, and a folder of this machine with those that were used here.

20261122-155500-1a2b/claim           whose name this is; written before all others
20261122-155500-1a2b/manifest.json   written after all others: the version is there now
active/00000012                      the pointer, moved for the twelfth time; written by whoever is first
"""

from __future__ import annotations

import os
import re
import uuid
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from upnext.errors import ArtifactError
from upnext.storage.artifacts import (
    ACTIVE,
    MANIFEST,
    REMEMBERED,
    TICKS,
    VERSION,
    Manifest,
    Models,
    complete,
    damage,
    entries,
    moment_of,
    name_of,
    next_moment,
    written,
    wrong_size,
)
from upnext.storage.artifacts_folder import FolderModels
from upnext.storage.bucket import Bucket, inside

CLAIM = "claim"
_TURN = re.compile(rf"{ACTIVE}/(\d{{8}})")
CACHED = 3  # versions kept on this machine: what serves, what served before, and one that is being tried
_ABANDONED = 24 * 3600 * TICKS  # a publisher that has not ended after a day was killed


class BucketModels(Models):
    """The model versions in a ``bucket`` that several machines may share; ``cache`` is of this one."""

    look_s = 2.0

    def __init__(self, bucket: Bucket, cache: Path) -> None:
        self.place = bucket.url
        self._bucket, self._cache = bucket, FolderModels(cache)

    def draft(self) -> AbstractContextManager[Path]:
        return self._cache.draft()

    def publish(self, draft: Path, manifest: Manifest, activate: bool = True) -> str:
        files = entries(draft)
        with self._cache.alone():
            version, moment = self._claim()
            manifest = complete(manifest, moment, files)
            self._bucket.upload({f"{version}/{name}": draft / name for name in files})
            self._check_sizes(manifest)
            self._bucket.create(f"{version}/{MANIFEST}", written(manifest))
            self._cache.settle(draft, manifest)  # what was made here need not be fetched
            if activate:
                self._point_to(version)
        self._forget()
        return version

    def versions(self) -> list[str]:
        return _published(self._bucket.sizes())

    def check(self, version: str) -> Manifest:
        manifest = self.manifest(version)
        self._check_sizes(manifest)
        return manifest

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()  # nobody can keep other machines away: they take turns

    def _folder(self, manifest: Manifest) -> Path:
        folder = self._cache.directory / manifest.version
        while True:
            if not self._is_cached(manifest):
                self._fetch(manifest)
                self._forget()
            with suppress(FileNotFoundError):  # another process fetched others, and let go of this one just now
                os.utime(folder)  # used now
                return folder

    def _fetch(self, manifest: Manifest) -> None:
        """Several processes of this machine that want a version fetch it once."""
        with self._cache.draft() as draft, self._cache.alone():
            if self._is_cached(manifest):
                return
            self._check_sizes(manifest)  # known at once, unlike checksums
            files = {name: inside(draft, name) for name in manifest.files}
            self._bucket.download({f"{manifest.version}/{name}": path for name, path in files.items()})
            for name, path in files.items():
                self._refuse(manifest.version, name, damage(path, manifest.files[name]))
            self._cache.settle(draft, manifest)

    def _is_cached(self, manifest: Manifest) -> bool:
        """Whether this very version is here, sound."""
        try:
            return self._cache.open(manifest.version)[1] == manifest
        except ArtifactError:
            return False

    def _forget(self) -> None:
        """Delete the cached versions but those used last; what is mapped into memory stays there until it is let go."""
        used: dict[str, float] = {}
        for name in self._cache.versions():
            with suppress(FileNotFoundError):  # another process was quicker
                used[name] = (self._cache.directory / name).stat().st_mtime
        for name in sorted(used, key=used.__getitem__)[:-CACHED]:
            with suppress(FileNotFoundError):
                self._cache.delete(name)

    def _check_sizes(self, manifest: Manifest) -> None:
        found = self._bucket.sizes(manifest.version)
        for name, expected in manifest.files.items():
            self._refuse(manifest.version, name, wrong_size(found.get(f"{manifest.version}/{name}"), expected))

    def _read_manifest(self, version: str) -> bytes | None:
        return self._bucket.read(f"{version}/{MANIFEST}")

    def delete(self, version: str) -> None:
        self._bucket.delete([f"{version}/{MANIFEST}"])  # nobody begins to fetch it any more
        self._bucket.delete(self._bucket.sizes(version))

    def _pointer(self) -> tuple[bytes | None, int]:
        turns = [int(found[1]) for name in self._bucket.sizes(ACTIVE) if (found := _TURN.fullmatch(name))]
        return (self._bucket.read(_turn(max(turns))), max(turns)) if turns else (None, 0)

    def _move(self, text: bytes, turn: int) -> bool:
        """The next turn is whose object is there first. Earlier ones stay, or a slow writer could take one of them."""
        if turn > REMEMBERED:
            self._bucket.delete([_turn(turn - REMEMBERED)])
        return self._bucket.create(_turn(turn + 1), text)

    def _claim(self) -> tuple[str, int]:
        """A name of our own, later than all others, and what it is named after. Sweeps away what was abandoned."""
        sizes = self._bucket.sizes()
        names = {name.partition("/")[0] for name in sizes}
        names = {name for name in names if VERSION.fullmatch(name)}
        moment = next_moment(max(names, default=None))
        for name in names - set(_published(sizes)):
            if moment_of(name) < moment - _ABANDONED:
                self.delete(name)
        while not self._bucket.create(f"{name_of(moment)}/{CLAIM}", uuid.uuid4().hex.encode()):
            moment += 1
        return name_of(moment), moment


def _published(names: dict[str, int]) -> list[str]:
    found = [name.removesuffix(f"/{MANIFEST}") for name in names if name.endswith(f"/{MANIFEST}")]
    return sorted(name for name in found if VERSION.fullmatch(name))


def _turn(number: int) -> str:
    return f"{ACTIVE}/{number:08d}"
