from __future__ import annotations

import numpy as np

from upnext.candidates.favourite_topics import FavouriteTopics
from upnext.config import FavouriteTopicsConfig
from upnext.stages import PairScorer, Source
from upnext.testing.source_contract import SourceContract, requests_of, scores_of
from upnext.types import Candidates, Catalogue, Float32, Requests

from .catalogues import catalogue_of

ITEMS, TOPICS, NOW = 60, 4, 1_700_000_000_000
WEIGHT, LEAST = np.ones(1, np.float32), np.full(1, -np.inf, np.float32)


def catalogue() -> Catalogue:
    """Item i is of category i % 4."""
    published = np.full(ITEMS, NOW - 86_400_000, np.int64)
    return catalogue_of(published, category=(np.arange(ITEMS) % TOPICS).tolist())


def quality(now: int, items: int) -> Float32:
    """The higher the code, the better."""
    return (1.0 + np.arange(items) / items).astype(np.float32)


def source(**settings: int) -> FavouriteTopics:
    known = catalogue()
    return FavouriteTopics(FavouriteTopicsConfig(**settings), lambda: known, quality, WEIGHT, LEAST)


class TestFavouriteTopics(SourceContract):
    items = ITEMS

    def make_source(self) -> Source:
        return source()

    def make_requests(self) -> Requests:
        return requests_of([[1, 5, 9], [], [2, 3, 2], [8]], now=NOW)


def test_the_best_of_the_favourite_category_come_first() -> None:
    found = source()(requests_of([[1, 5, 9, 2]], now=NOW), 10)
    assert found.item.tolist()[:5] == [57, 53, 49, 45, 41]  # category 1, best quality first


def test_nobody_known_nothing_proposed() -> None:
    assert len(source()(requests_of([[]], now=NOW), 10)) == 0


def test_only_so_many_items_a_topic_and_topics_are_looked_at() -> None:
    assert len(source(items_a_topic=3)(requests_of([[1, 5]], now=NOW), 50)) == 3
    both = source(items_a_topic=3, topics=1)(requests_of([[1, 5, 9, 2]], now=NOW), 50)
    assert set((both.item % TOPICS).tolist()) == {1}


def test_unavailable_and_unpublished_items_are_left_out() -> None:
    known = catalogue()
    known.available[57] = False
    known.published_at[53] = NOW + 1
    found = FavouriteTopics(FavouriteTopicsConfig(), lambda: known, quality, WEIGHT, LEAST)(
        requests_of([[1, 5, 9]], now=NOW), 3
    )
    assert found.item.tolist() == [49, 45, 41]


def test_a_pair_is_judged_by_the_leaning_alone() -> None:
    found = source()
    assert isinstance(found, PairScorer)
    requests = requests_of([[1, 5, 9, 2], []], now=NOW)
    pairs = Candidates(np.array([1, 57, 2, 0, ITEMS + 5, 1], np.int32), np.array([0, 5, 6]))
    score = found.score(requests, pairs)
    assert score[0] == score[1] > score[2] > score[3] == 0
    assert score[4] == score[5] == 0
    assert scores_of(found(requests, 5)).min() > 0
