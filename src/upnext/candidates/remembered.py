"""Proposing and scoring read the same thing of a request: it is computed once and kept by the request's identity."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from upnext.types import Requests

KEPT = 16  # batches under way at once, about


Result = TypeVar("Result")


class Remembered(Generic[Result]):
    """The results of the last few Requests objects, which are frozen: the same object has the same result."""

    def __init__(self, compute: Callable[[Requests], Result]) -> None:
        self._compute = compute
        self._kept: OrderedDict[int, tuple[Requests, Result]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, requests: Requests) -> Result:
        with self._lock:
            found = self._kept.get(id(requests))
        if found is not None and found[0] is requests:
            return found[1]
        result = self._compute(requests)
        with self._lock:
            self._kept[id(requests)] = requests, result
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return result

    def latest(self, most: int) -> list[Result]:
        """Up to this many of the results that are still kept, the latest last."""
        with self._lock:
            return [result for _, result in list(self._kept.values())[-most:]]
