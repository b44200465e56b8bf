"""The live state on disk: a restart reads it and the tail of the log, instead of the whole log.

A snapshot is a shortcut, never the truth: one that is missing, damaged, of other settings or of another log is not
used, and the state is made from the log again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upnext.config import Config
from upnext.live import Live, Tailed

_LOG = logging.getLogger("upnext.snapshot")

FORMAT = 3
FILE = "var/state.npz"  # in the home
_ABOUT = "about"


def save(live: Live, path: Path) -> int:
    """Write the state as of the last event that ``live`` has read, whole or not at all; returns that offset."""
    with live.still():
        offset = live.offset
        about = {
            "format": FORMAT,
            "settings": settings_digest(live.config),
            "offset": offset,
            "latest": live.latest,
            "last_event": _event_at(live.log, offset),
            "authors": list(live.catalogue.authors.names),
            "categories": list(live.catalogue.categories.names),
        }
        columns = live.state.dump()
    columns[_ABOUT] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            np.savez(file, **columns)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return offset


def restore(live: Live, path: Path) -> bool:
    """Make ``live``, which has read nothing yet, what was saved; the caller then reads the tail of the log.

    False, with the reason logged, where there is no snapshot that fits.
    """
    if not path.exists():
        return False
    try:
        columns = _read(path)  # every byte is checked before any of it is used
        about = json.loads(columns.pop(_ABOUT).tobytes())
        problem = _misfit(about, columns, live)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        problem = f"it is damaged ({error})"
    if problem is not None:
        _LOG.warning("%s is not used: %s. The state is made from the whole log.", path, problem)
        return False
    live.state.load(columns)
    live.catalogue.authors.extend(about["authors"])  # the counters are kept by these codes
    live.catalogue.categories.extend(about["categories"])
    live.offset, live.latest = int(about["offset"]), int(about["latest"])
    return True


def settings_digest(config: Config) -> str:
    """A hash of the settings that decide what the state holds."""
    features = config.features
    parts = [
        features.half_lives_days,
        features.history_size,
        features.tick_seconds,
        config.candidates.trending.half_life_hours,
        {name: entry.model_dump(mode="json") for name, entry in config.events.types.items()},
        {name: (task.event, task.kind, task.cap) for name, task in config.ranking.tasks.items()},
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with (
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):  # reading a member to its end checks its checksum
        return {name: stored[name] for name in stored.files}


def _misfit(about: dict[str, Any], columns: dict[str, NDArray[Any]], live: Live) -> str | None:
    if about["format"] != FORMAT:
        return f"it has the format {about['format']}, this version reads {FORMAT}"
    if about["settings"] != settings_digest(live.config):
        return "it was made with other settings"
    if about["last_event"] != _event_at(live.log, about["offset"]):
        return "it was made from another log"
    expected = {name: (column.dtype, column.shape[1:]) for name, column in live.state.dump().items()}
    if expected != {name: (column.dtype, column.shape[1:]) for name, column in columns.items()}:
        return "its columns are others than this version's"
    return None


def _event_at(log: Tailed, offset: int) -> list[float] | None:
    """What identifies a log by one of its events."""
    events = log.read_events(offset - 1, 1) if offset >= 0 else None
    if events is None or not len(events):
        return None
    columns = (events.offset, events.user, events.item, events.type, events.happened_at, events.received_at)
    return [int(column[0]) for column in columns]
