"""External ids (any string) <-> int32 codes. Append-only: a code, once given, means the same id for ever."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from upnext.types import Int32


class IdMap:
    """Codes are positions: the n-th id added has code n. Unknown ids encode to -1."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._ids: list[str] = []
        self._codes: dict[str, int] = {}
        self.extend(ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._codes

    def extend(self, ids: Iterable[str]) -> None:
        """Append ids; one that is known already keeps its code."""
        for id_ in ids:
            if id_ not in self._codes:
                self._codes[id_] = len(self._ids)
                self._ids.append(id_)

    @property
    def names(self) -> Sequence[str]:
        """All ids; the position is the code. Grows as ids are added."""
        return self._ids

    def code(self, id_: str) -> int:
        return self._codes.get(id_, -1)

    def encode(self, ids: Sequence[str]) -> Int32:
        get = self._codes.get
        return np.fromiter((get(id_, -1) for id_ in ids), np.int32, len(ids))

    def decode(self, codes: Sequence[int] | Int32) -> list[str]:
        """Raises IndexError for a code that was never given."""
        ids = self._ids
        if any(code < 0 for code in codes):
            raise IndexError("a negative code has no id")
        return [ids[code] for code in codes]
