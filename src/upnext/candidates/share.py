"""A share of a version's item vectors, wherever it runs: what candidates/spread.py asks of it."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np

from upnext.candidates.item_space import LocalSpace
from upnext.types import Bool, Float32, Int32
from upnext.vectors import Vectors


class Share:
    """Answers in the share's own codes. Vectors travel in half precision, in which they are kept."""

    def __init__(self, space: LocalSpace | Vectors) -> None:
        self._space = space

    def vectors(self, codes: Int32) -> Any:
        return self._space[codes].astype(np.float16)

    def known(self, codes: Int32) -> Bool:
        return self._space.known(codes)

    def change(self, codes: Int32, vectors: Float32 | None) -> bool:
        """New vectors of items; None = they are no longer found."""
        if vectors is not None:
            self._space.put(codes, vectors)
        elif isinstance(self._space, LocalSpace):
            self._space.remove(codes)
        return True

    def search(self, queries: Float32, k: int) -> tuple[Int32, Float32]:
        return self._whole().search(queries, k)

    def sizes(self) -> tuple[int, ...]:
        return astuple(self._whole().sizes)

    def rebuild(self, asking: Float32, exact_below: int) -> bool:
        self._whole().rebuild(asking, exact_below)
        return True

    def recall(self, queries: Float32, k: int) -> float:
        return self._whole().recall(queries, k)

    def _whole(self) -> LocalSpace:
        assert isinstance(self._space, LocalSpace), "only vectors with an index can be searched"
        return self._space
