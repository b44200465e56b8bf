"""Model versions in a folder of this machine, which several processes may share.

models/20261122-155500-1a2b/   a version
models/active                  the pointer
models/.draft-*                being written; without effect until published
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from upnext.storage.artifacts import (
    ACTIVE,
    MANIFEST,
    VERSION,
    Manifest,
    Models,
    complete,
    damage,
    entries,
    name_of,
    next_moment,
    written,
)

_DRAFT = ".draft-"
_CHECKED_AT_ONCE = 2


class FolderModels(Models):
    """The model versions in ``directory``, which is made when first published to."""

    look_s = 0.2

    def __init__(self, directory: Path) -> None:
        self.directory, self.place = directory, str(directory)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        with self.alone():
            folder = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self.directory))
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)  # held as long as the process lives: leftovers are those nobody holds
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def publish(self, draft: Path, manifest: Manifest, activate: bool = True) -> str:
        files = entries(draft)
        for path in draft.rglob("*"):
            _sync(path)
        with self.alone():
            moment = next_moment(max(self.versions(), default=None))
            self.settle(draft, complete(manifest, moment, files))
            if activate:
                self._point_to(name_of(moment))
        return name_of(moment)

    def versions(self) -> list[str]:
        if not self.directory.is_dir():
            return []
        names = [entry.name for entry in self.directory.iterdir() if (entry / MANIFEST).is_file()]
        return sorted(name for name in names if VERSION.fullmatch(name))

    def check(self, version: str) -> Manifest:
        return self.open(version)[1]

    def settle(self, draft: Path, manifest: Manifest) -> None:
        """Let the draft be the version that its manifest names, in place of what may be there. For whoever is alone."""
        self._sweep()
        (draft / MANIFEST).write_bytes(written(manifest))
        _sync(draft / MANIFEST)
        draft.chmod(0o755)  # a temporary folder is private
        _sync(draft)
        target = self.directory / manifest.version
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
        _sync(self.directory)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time names versions, moves the pointer, and makes or sweeps away drafts."""
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _folder(self, manifest: Manifest) -> Path:
        folder = self.directory / manifest.version
        with ThreadPoolExecutor(_CHECKED_AT_ONCE) as pool:  # hashing lets other threads go on
            found = pool.map(lambda name: damage(folder / name, manifest.files[name]), manifest.files)
            for name, said in zip(manifest.files, found, strict=True):
                self._refuse(manifest.version, name, said)
        return folder

    def _read_manifest(self, version: str) -> bytes | None:
        return _bytes(self.directory / version / MANIFEST)

    def delete(self, version: str) -> None:
        with self.draft() as trash:
            (self.directory / version).rename(trash / version)

    def _pointer(self) -> tuple[bytes | None, int]:
        return _bytes(self.directory / ACTIVE), 0  # whoever is alone needs no turns

    def _move(self, text: bytes, turn: int) -> bool:
        pointer = self.directory / f"{_DRAFT}{ACTIVE}"
        pointer.write_bytes(text)
        _sync(pointer)
        pointer.replace(self.directory / ACTIVE)
        _sync(self.directory)
        return True

    def _sweep(self) -> None:
        """Delete the drafts of processes that were killed: nobody holds their lock."""
        for leftover in self.directory.glob(f"{_DRAFT}*/"):
            try:
                descriptor = os.open(leftover, os.O_RDONLY)
            except FileNotFoundError:
                continue  # whoever made it was done with it just now
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover, ignore_errors=True)
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
