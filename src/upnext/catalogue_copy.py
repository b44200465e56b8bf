"""The catalogue on disk as columns: a start maps them and reads what changed since, instead of every row of the log.

Like the snapshot of the state it is a shortcut, never the truth: a copy that is missing, damaged or of another log is
not used. ``var/catalogue/about.json`` says what the files of one folder beside it are; older folders are deleted.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upnext.live import Live

_LOG = logging.getLogger("upnext.snapshot")

FORMAT = 1
FOLDER = "var/catalogue"  # in the home
WORTH = 0.05  # of the items: so many read from the log make a new copy worth writing
_ABOUT = "about.json"
_CHUNK = 1 << 22


def save(live: Live, folder: Path) -> bool:
    """Write the catalogue as of the last revision that ``live`` has read, whole or not at all.

    False where another process is writing. Items may go on changing: a row that is written in a later state than the
    revision says is read from the log again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, fcntl.LOCK_EX) as alone:
        if not alone:
            return False
        with live.still():
            about: dict[str, Any] = {"format": FORMAT, "log": live.log.identity()[0]}
            about["revision"] = live.items_revision
            size = len(live.catalogue())
        fresh = Path(tempfile.mkdtemp(prefix="columns-", dir=folder))
        try:
            about |= {"folder": fresh.name, **live.catalogue.save(fresh, size)}
            about["files"] = {path.name: _checksum(path, sync=True) for path in sorted(fresh.iterdir())}
            draft = fresh / _ABOUT
            draft.write_text(json.dumps(about), encoding="utf-8")
            draft.replace(folder / _ABOUT)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        for old in folder.glob("columns-*"):  # who has mapped an old one keeps it
            if old != fresh:
                shutil.rmtree(old, ignore_errors=True)
    return True


def restore(live: Live, folder: Path) -> bool:
    """Give ``live``, whose catalogue holds no items yet, the saved ones; the caller then reads the rest from the log.

    False, with the reason logged, where there is no copy that fits.
    """
    if not (folder / _ABOUT).exists():
        return False
    with _locked(folder, fcntl.LOCK_SH):
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            problem = _misfit(about, live)
            if problem is None:
                columns = folder / about["folder"]
                wrong = [name for name, sum_ in about["files"].items() if _checksum(columns / name) != sum_]
                problem = f"it is damaged ({', '.join(wrong)})" if wrong else None
            if problem is None:
                live.catalogue.load(columns, about)
                live.items_revision = int(about["revision"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"it is damaged ({error})"
    if problem is not None:
        _LOG.warning("%s is not used: %s. The catalogue is read from the log.", folder, problem)
    return problem is None


def save_if_worth(live: Live, folder: Path, saved: int) -> int:
    """Save where more than WORTH of the items were read from the log since ``saved`` (of ``live.items_read``).

    Returns how many had been read when it was saved last.
    """
    read = live.items_read
    return read if read - saved > WORTH * len(live.catalogue()) and save(live, folder) else saved


def _misfit(about: dict[str, Any], live: Live) -> str | None:
    if about["format"] != FORMAT:
        return f"it has the format {about['format']}, this version reads {FORMAT}"
    identity, revision = live.log.identity()
    if about["log"] != identity:
        return "it was made from another log"
    if about["revision"] > revision:
        return "it is newer than the log"
    return None


def _checksum(path: Path, sync: bool = False) -> int:
    """CRC-32 of a file; with ``sync`` it is on disk afterwards."""
    sum_, chunk = 0, memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(chunk):
            sum_ = zlib.crc32(chunk[:read], sum_)
        if sync:
            os.fsync(file.fileno())
    return sum_


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[bool]:
    """A lock between processes; False where it would have to wait for an exclusive one."""
    descriptor, locked = os.open(folder, os.O_RDONLY), True
    try:
        try:
            fcntl.flock(descriptor, how | (fcntl.LOCK_NB if how == fcntl.LOCK_EX else 0))
        except BlockingIOError:
            locked = False
        yield locked
    finally:
        os.close(descriptor)
