"""What every Reranker keeps: subclass ``RerankerContract`` in a test module and return yours from ``reranker``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from upnext.stages import Reranker
from upnext.types import Candidates, Float32, History, Int32, Order, Ragged, Requests

ITEMS = 400  # item codes of the contract's candidates are below this
SIZES = (0, 1, 7, 60, 0, 25)  # rows of each request


class RerankerContract(ABC):
    @abstractmethod
    def reranker(self) -> Reranker:
        """A fresh reranker whose views know the items 0 to ITEMS - 1."""

    def test_has_a_name(self) -> None:
        assert isinstance(self.reranker(), Reranker)
        assert self.reranker().name

    def test_rows_stay_in_their_request_and_never_repeat(self) -> None:
        for seed in range(5):
            table = candidates(SIZES, seed)
            check(self.reranker()(requests(len(SIZES), k=10), table), table)

    def test_a_batch_gives_what_its_requests_give_one_by_one(self) -> None:
        for seed, k in enumerate((1, 4, 10, 30)):
            table, batch = candidates(SIZES, seed), requests(len(SIZES), k)
            together = self.reranker()(batch, table)
            for request, start in enumerate(table.offsets[:-1]):
                alone = self.reranker()(batch.take(request), table.of_request(request))
                one = slice(together.offsets[request], together.offsets[request + 1])
                np.testing.assert_array_equal(together.rows[one] - start, alone.rows)
                np.testing.assert_array_equal(together.propensity[one], alone.propensity)

    def test_the_same_again_is_the_same(self) -> None:
        table, batch = candidates(SIZES, 3), requests(len(SIZES), 10)
        once, again = self.reranker()(batch, table), self.reranker()(batch, table)
        np.testing.assert_array_equal(once.rows, again.rows)
        np.testing.assert_array_equal(once.propensity, again.propensity)

    def test_k_rows_are_given_where_there_are_k(self) -> None:
        for k in (1, 10, 1000):
            table = candidates(SIZES, 1)
            order = self.reranker()(requests(len(SIZES), k), table)
            assert (np.diff(order.offsets) >= np.minimum(np.diff(table.offsets), k)).all()

    def test_no_requests_and_no_rows(self) -> None:
        for sizes in ((), (0,), (0, 0)):
            order = self.reranker()(requests(len(sizes), 10), candidates(sizes, 0))
            assert order.rows.tolist() == []
            assert order.offsets.tolist() == [0] * (len(sizes) + 1)

    def test_equal_utilities(self) -> None:
        table = candidates(SIZES, 2, np.ones(sum(SIZES), np.float32))
        check(self.reranker()(requests(len(SIZES), 10), table), table)

    def test_utilities_that_are_not_finite(self) -> None:
        utility = np.random.default_rng(0).normal(size=sum(SIZES)).astype(np.float32)
        utility[::3], utility[1::7], utility[2::11] = np.nan, np.inf, -np.inf
        for worth in (utility, np.full_like(utility, np.nan)):
            table = candidates(SIZES, 4, worth)
            check(self.reranker()(requests(len(SIZES), 10), table), table)

    def test_the_candidates_are_left_as_they_were(self) -> None:
        table = candidates(SIZES, 5)
        item, utility = table.item.copy(), table["utility"].copy()
        self.reranker()(requests(len(SIZES), 10), table)
        np.testing.assert_array_equal(table.item, item)
        np.testing.assert_array_equal(table["utility"], utility)


def check(order: Order, table: Candidates) -> None:
    """A subset of each request's rows, each at most once, with propensities in (0, 1]."""
    assert len(order.offsets) == len(table.offsets)
    assert order.offsets[0] == 0
    assert order.offsets[-1] == len(order.rows) == len(order.propensity)
    assert len(np.unique(order.rows)) == len(order.rows)
    owner = np.repeat(np.arange(table.batch), np.diff(order.offsets))
    np.testing.assert_array_equal(table.request[order.rows], owner)
    assert ((order.propensity > 0) & (order.propensity <= 1)).all()


def candidates(sizes: Sequence[int], seed: int, utility: Float32 | None = None) -> Candidates:
    """Requests of so many random items below ITEMS, with a column ``utility``."""
    rng = np.random.default_rng(seed)
    items: list[Int32] = [rng.permutation(ITEMS)[:size].astype(np.int32) for size in sizes]
    if utility is None:
        utility = rng.normal(size=sum(sizes)).astype(np.float32)
    return Candidates(
        np.concatenate([np.empty(0, np.int32), *items]),
        np.cumsum([0, *sizes], dtype=np.int64),
        {"utility": utility},
    )


def requests(batch: int, k: int) -> Requests:
    """Users 0, 1, ... asking at the same moment."""
    return Requests(
        user=np.arange(batch, dtype=np.int32),
        now=np.full(batch, 1_700_000_000_000, np.int64),
        surface=np.zeros(batch, np.int16),
        k=k,
        acted=History.empty(batch, 4),
        shown=History.empty(batch, 4),
        exclude=Ragged.empty(batch),
        anchors=Ragged.empty(batch),
    )
