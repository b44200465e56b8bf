"""What every source promises, as a test class: subclass it and say how to make the source and requests it knows.

class TestTrending(SourceContract):
    items = 100
    def make_source(self) -> Source: ...
    def make_requests(self) -> Requests: ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from upnext.stages import PairScorer, Source
from upnext.types import NO_ITEM, NO_USER, Candidates, Float32, History, Ragged, Requests

TOLERANCE = 1e-4  # matrix products differ in the last bits between batch sizes


def requests_of(
    histories: Sequence[Sequence[int]],
    users: Sequence[int] | None = None,
    now: int = 0,
    size: int = 16,
    event: int = 0,
    anchors: Sequence[Sequence[int]] | None = None,
) -> Requests:
    """One request a history of item codes, oldest first: events of one type, a minute apart, the last before now."""
    batch = len(histories)
    acted = History.empty(batch, size)
    for row, items in enumerate(histories):
        kept = list(items)[-size:]
        slots = slice(size - len(kept), size)
        acted.item[row, slots] = kept
        acted.event[row, slots] = event
        acted.at[row, slots] = now - 60_000 * np.arange(len(kept), 0, -1)
    return Requests(
        user=np.full(batch, NO_USER, np.int32) if users is None else np.asarray(users, np.int32),
        now=np.full(batch, now, np.int64),
        surface=np.zeros(batch, np.int16),
        k=10,
        acted=acted,
        shown=History.empty(batch, size),
        exclude=Ragged.empty(batch),
        anchors=Ragged.empty(batch) if anchors is None else Ragged.of(anchors),
    )


def scores_of(candidates: Candidates) -> Float32:
    """The column that every source fills."""
    return np.asarray(candidates["score"], np.float32)


class SourceContract:
    items: int
    k: int = 7

    def make_source(self) -> Source:
        raise NotImplementedError

    def make_requests(self) -> Requests:
        """At least three requests, of which the source has something to propose for one."""
        raise NotImplementedError

    def test_is_a_source(self) -> None:
        source = self.make_source()
        assert isinstance(source, Source)
        assert source.name.isidentifier()

    def test_proposes_valid_rows(self) -> None:
        requests = self.make_requests()
        found = self.make_source()(requests, self.k)
        assert len(found) > 0, "the made requests must be known to the source"
        assert found.batch == len(requests) >= 3
        assert found.item.dtype == np.int32
        assert found.offsets.dtype == np.int64
        assert found["score"].dtype == np.float32
        assert np.isfinite(scores_of(found)).all()
        assert found.item.min() >= 0
        assert found.item.max() < self.items

    def test_at_most_k_best_first_and_distinct(self) -> None:
        source, requests = self.make_source(), self.make_requests()
        for k in (1, self.k, 3 * self.items):
            found = source(requests, k)
            assert np.diff(found.offsets).max() <= k
            same = found.request[1:] == found.request[:-1]
            assert (np.diff(scores_of(found).astype(np.float64))[same] <= 0).all()
            pairs = found.request * self.items + found.item
            assert len(np.unique(pairs)) == len(pairs)

    def test_k_of_zero_is_nothing(self) -> None:
        requests = self.make_requests()
        found = self.make_source()(requests, 0)
        assert len(found) == 0
        assert found.batch == len(requests)
        assert found["score"].dtype == np.float32

    def test_batch_equals_single(self) -> None:
        source, requests = self.make_source(), self.make_requests()
        together = source(requests, self.k)
        for row in range(len(requests)):
            _same(together.of_request(row), source(requests.take(row), self.k))

    def test_same_answer_twice(self) -> None:
        source, requests = self.make_source(), self.make_requests()
        first, second = source(requests, self.k), source(requests, self.k)
        np.testing.assert_array_equal(first.item, second.item)
        np.testing.assert_array_equal(scores_of(first), scores_of(second))

    def test_unknown_users_and_empty_histories(self) -> None:
        source = self.make_source()
        for batch in (1, 3):
            found = source(_nobody(self.make_requests(), batch), self.k)
            assert found.batch == batch
            assert np.isfinite(scores_of(found)).all()

    def test_items_newer_than_the_model(self) -> None:
        requests = self.make_requests()
        item = requests.acted.item
        newer = replace(requests.acted, item=np.where(item == NO_ITEM, item, item + 10 * self.items).astype(np.int32))
        found = self.make_source()(replace(requests, acted=newer), self.k)
        assert found.batch == len(requests)
        assert (found.item < self.items).all()

    def test_leaves_requests_alone(self) -> None:
        source, requests, untouched = self.make_source(), self.make_requests(), self.make_requests()
        source(requests, self.k)
        for name in ("item", "event", "at", "value"):
            np.testing.assert_array_equal(getattr(requests.acted, name), getattr(untouched.acted, name))


class PairScorerContract(SourceContract):
    """For sources that also score pairs; ``make_source`` makes one that is both."""

    def _scorer(self) -> PairScorer:
        source = self.make_source()
        assert isinstance(source, PairScorer)
        return source

    def test_scores_what_it_proposed_alike(self) -> None:
        requests = self.make_requests()
        found = self.make_source()(requests, self.k)
        scores = self._scorer().score(requests, found)
        np.testing.assert_allclose(scores, scores_of(found), atol=TOLERANCE, rtol=TOLERANCE)

    def test_scores_any_item(self) -> None:
        requests = self.make_requests()
        everything = _every_item(len(requests), 2 * self.items)
        scores = self._scorer().score(requests, everything)
        assert scores.dtype == np.float32
        assert scores.shape == (len(everything),)
        assert np.isfinite(scores).all()
        assert (scores.reshape(len(requests), -1)[:, self.items :] == 0).all(), "items it does not know score 0"

    def test_unknown_users_score_finite(self) -> None:
        nobody = _nobody(self.make_requests(), 2)
        scores = self._scorer().score(nobody, _every_item(2, self.items))
        assert np.isfinite(scores).all()

    def test_scoring_a_batch_equals_single(self) -> None:
        scorer, requests = self._scorer(), self.make_requests()
        everything = _every_item(len(requests), self.items)
        together = scorer.score(requests, everything).reshape(len(requests), -1)
        for row in range(len(requests)):
            alone = scorer.score(requests.take(row), everything.of_request(row))
            np.testing.assert_allclose(together[row], alone, atol=TOLERANCE, rtol=TOLERANCE)

    def test_scores_no_rows(self) -> None:
        requests = self.make_requests()
        nothing = Candidates(np.empty(0, np.int32), np.zeros(len(requests) + 1, np.int64))
        assert self._scorer().score(requests, nothing).shape == (0,)


def _every_item(batch: int, items: int) -> Candidates:
    offsets = np.arange(batch + 1, dtype=np.int64) * items
    return Candidates(np.tile(np.arange(items, dtype=np.int32), batch), offsets)


def _nobody(requests: Requests, batch: int) -> Requests:
    """Unknown users without any history, at the same time."""
    now = int(requests.now[0])
    return requests_of([[] for _ in range(batch)], now=now, size=requests.acted.item.shape[1])


def _same(left: Candidates, right: Candidates) -> None:
    """The same proposals; items may change places only where their scores are equal within TOLERANCE."""
    assert len(left) == len(right)
    np.testing.assert_allclose(scores_of(left), scores_of(right), atol=TOLERANCE, rtol=TOLERANCE)
    _, mine, yours = np.intersect1d(left.item, right.item, return_indices=True)
    np.testing.assert_allclose(scores_of(left)[mine], scores_of(right)[yours], atol=TOLERANCE, rtol=TOLERANCE)
    for one, other in ((left, right), (right, left)):
        missing = ~np.isin(one.item, other.item)
        np.testing.assert_allclose(scores_of(one)[missing], scores_of(other)[-1:].repeat(missing.sum()), atol=TOLERANCE)
