"""The contract catches sources that break it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from upnext.stages import Source
from upnext.testing.source_contract import SourceContract, requests_of, scores_of
from upnext.types import Candidates, Float32, Int32, Requests

ITEMS = 20


class Fixed:
    """The same items for everybody, however many were asked for."""

    name = "fixed"

    def __init__(self, item: list[int], score: list[float], obeys_k: bool = True) -> None:
        self.item, self.score = np.array(item, np.int32), np.array(score, np.float32)
        self.obeys_k = obeys_k

    def __call__(self, requests: Requests, k: int) -> Candidates:
        size = min(k, len(self.item)) if self.obeys_k else len(self.item)
        item: Int32 = np.tile(self.item[:size], len(requests))
        score: Float32 = np.tile(self.score[:size], len(requests))
        return Candidates(item, np.arange(len(requests) + 1, dtype=np.int64) * size, {"score": score})


class Neighbourly(Fixed):
    """Looks at how many others there are."""

    def __call__(self, requests: Requests, k: int) -> Candidates:
        found = super().__call__(requests, k)
        return Candidates(found.item, found.offsets, {"score": (scores_of(found) / len(requests)).astype(np.float32)})


class Contract(SourceContract):
    items = ITEMS

    def __init__(self, source: Source) -> None:
        self.source = source

    def make_source(self) -> Source:
        return self.source

    def make_requests(self) -> Requests:
        return requests_of([[1], [], [2, 3]])


def broken(source: Source) -> set[str]:
    """The promises that the source does not keep."""
    contract, failed = Contract(source), set()
    checks: list[Callable[[], None]] = [getattr(contract, name) for name in dir(contract) if name.startswith("test_")]
    for check in checks:
        try:
            check()
        except AssertionError:
            failed.add(check.__name__)
    return failed


def test_a_good_source_keeps_every_promise() -> None:
    assert broken(Fixed([3, 1, 2], [0.9, 0.5, 0.5])) == set()


@pytest.mark.parametrize(
    ("source", "promise"),
    [
        (Fixed([3, 1, 3], [0.9, 0.5, 0.4]), "test_at_most_k_best_first_and_distinct"),
        (Fixed([3, 1, 2], [0.5, 0.9, 0.4]), "test_at_most_k_best_first_and_distinct"),
        (Fixed([3, 1], [0.9, 0.5], obeys_k=False), "test_at_most_k_best_first_and_distinct"),
        (Fixed([3, 1], [0.9, 0.5], obeys_k=False), "test_k_of_zero_is_nothing"),
        (Fixed([3, ITEMS], [0.9, 0.5]), "test_proposes_valid_rows"),
        (Fixed([3, -1], [0.9, 0.5]), "test_proposes_valid_rows"),
        (Fixed([3, 1], [0.9, np.nan]), "test_proposes_valid_rows"),
        (Fixed([], []), "test_proposes_valid_rows"),
        (Neighbourly([3, 1], [0.9, 0.5]), "test_batch_equals_single"),
    ],
)
def test_a_broken_promise_is_noticed(source: Source, promise: str) -> None:
    assert promise in broken(source)
