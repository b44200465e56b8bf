"""What the user names after ``upnext import`` -> a reader."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from upnext.errors import ConfigError, DataError
from upnext.events.batches import Reader
from upnext.events.mapping import load_mapping
from upnext.events.readers.files import Files
from upnext.events.readers.kuairand import KuaiRand
from upnext.events.readers.movielens import MovieLens
from upnext.events.readers.sequences import Sequences

FORMATS: Mapping[str, Callable[[Path], Reader]] = {
    "kuairand": KuaiRand,
    "movielens": MovieLens,
    "sequences": Sequences,
}
USAGE = "PATH (a file or folder of CSV, JSON lines or Parquet), or one of " + ", ".join(f"{n} PATH" for n in FORMATS)


def open_source(args: Sequence[str], mapping: Path | None = None) -> Reader:
    """A reader for ``["PATH"]`` or ``["kuairand", "PATH"]``.

    Raises ConfigError for a wrong call and DataError for a path that is not there or not what was named.
    """
    if len(args) == 1 and args[0] not in FORMATS:
        path = _existing(args[0])
        return Files(path, load_mapping(mapping) if mapping else {})
    if len(args) == 2 and args[0] in FORMATS:
        if mapping is not None:
            raise ConfigError(f"--mapping {mapping}: {args[0]} knows its columns; a mapping is for files of your own")
        return FORMATS[args[0]](_existing(args[1]))
    if len(args) == 2:
        near = difflib.get_close_matches(args[0].lower(), list(FORMATS), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(FORMATS)}"
        raise ConfigError(f"import: {args[0]!r} is no known source; {hint}")
    raise ConfigError(f"import: got {' '.join(args) or 'nothing'}; expected {USAGE}")


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if path.exists():
        return path
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    raise DataError(
        f"{name}: there is no such file or folder" + (f"; did you mean {path.parent / near[0]}?" if near else "")
    )
