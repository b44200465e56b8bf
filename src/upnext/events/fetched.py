"""Data that is named by a URL -> files of this machine, for as long as they are imported."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from upnext.storage.open import FILE, open_bucket


@contextmanager
def fetched(words: Sequence[str], folder: Path) -> Iterator[list[str]]:
    """What follows ``upnext import``, with the path of a copy in the place of a URL; the copy is deleted in the end.

    The copies lie in ``folder``, the disk of the home, which is the one with room. Raises ConfigError for a URL that
    cannot be used, StorageError where it cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)  # a home may be no more than its upnext.toml
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=folder) as copies:
        yield [str(_copy(word, Path(copies))) for word in words]


def _copy(word: str, copies: Path) -> str | Path:
    bucket = open_bucket(word, "import")
    return word.removeprefix(FILE) if bucket is None else bucket.fetch(copies)
