from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.favourite_topics import AUTHOR, LATER_CATEGORIES, FavouriteTopics
from upnext.candidates.topic_lists import list_topics
from upnext.config import FavouriteTopicsConfig
from upnext.stages import PairScorer, Source
from upnext.testing.source_contract import SourceContract, requests_of, scores_of
from upnext.types import Candidates, Catalogue, Float32, Float64, Requests

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


def some_catalogue(seed: int) -> Catalogue:
    """Up to three categories an item, an author or none; some items are gone, some not out yet."""
    random = np.random.default_rng(seed)
    category = random.integers(0, 7, (ITEMS, 3)).astype(np.int32)
    category[np.arange(3) >= random.integers(0, 4, ITEMS)[:, None]] = -1
    category[:, 1:][category[:, 1:] == category[:, :1]] = -1  # each topic once an item
    category[:, 2][category[:, 2] == category[:, 1]] = -1
    return replace(
        catalogue(),
        category=category,
        author=random.integers(-1, 5, ITEMS).astype(np.int32),
        available=random.random(ITEMS) < 0.9,
        published_at=np.where(random.random(ITEMS) < 0.1, NOW + 1, NOW - 1).astype(np.int64),
    )


def shares(known: Catalogue) -> Float64:
    """How much each topic (7 categories, 5 authors) says of each item, ``[I, 12]``."""
    weight = np.zeros((ITEMS, 12))
    for item in range(ITEMS):
        for column, category in enumerate(known.category[item].tolist()):
            if category >= 0:
                weight[item, category] += 1.0 if column == 0 else LATER_CATEGORIES
        if known.author[item] >= 0:
            weight[item, 7 + known.author[item]] += AUTHOR
    return weight


@given(st.integers(0, 1000), st.lists(st.lists(st.integers(0, ITEMS + 3), max_size=14), min_size=1, max_size=4))
def test_the_loops_do_as_dense_algebra_does(seed: int, histories: list[list[int]]) -> None:
    known, config = some_catalogue(seed), FavouriteTopicsConfig(topics=12, items_a_topic=ITEMS)
    found = FavouriteTopics(config, lambda: known, quality, WEIGHT, LEAST)
    weight, shown = shares(known), known.available & (known.published_at <= NOW)
    rarity = np.log1p(ITEMS / np.maximum(((weight > 0) & shown[:, None]).sum(axis=0), 1))
    expected = np.zeros((len(histories), ITEMS))
    for row, history in enumerate(histories):
        fading = {
            n: 0.5 ** ((len(history) - 1 - n) / config.history_half_life) for n, i in enumerate(history) if i < ITEMS
        }
        lean = sum((fade * weight[history[n]] for n, fade in fading.items()), np.zeros(12))
        expected[row] = weight @ (lean * rarity) / max(sum(fading.values()), 1e-9)
    requests = requests_of(histories, now=NOW)
    everything = Candidates(
        np.tile(np.arange(ITEMS, dtype=np.int32), len(histories)), np.arange(len(histories) + 1, dtype=np.int64) * ITEMS
    )
    score = found.score(requests, everything).reshape(-1, ITEMS)
    np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-7)
    for row in range(len(histories)):
        one = found(requests, ITEMS).of_request(row)
        assert set(one.item.tolist()) == set(np.flatnonzero((score[row] > 0) & shown).tolist())
        np.testing.assert_allclose(scores_of(one), score[row][one.item] * quality(NOW, ITEMS)[one.item], rtol=1e-5)


@given(st.integers(0, 1000), st.integers(1, 12))
def test_the_lists_hold_the_best_of_every_topic(seed: int, most: int) -> None:
    known, weight = some_catalogue(seed), shares(some_catalogue(seed))
    good = np.random.default_rng(seed).integers(1, 6, ITEMS).astype(np.float32)  # many are equal
    lists = list_topics(known, good, NOW, most)
    shown = known.available & (known.published_at <= NOW)
    rows = [*range(lists.categories), *range(7, 7 + len(lists.offsets) - 1 - lists.categories)]
    for row, topic in enumerate(rows):
        items = np.flatnonzero((weight[:, topic] > 0) & shown)
        best = sorted(items.tolist(), key=lambda item: (-good[item], item))[:most]
        listed = lists.items[lists.offsets[row] : lists.offsets[row + 1]]
        assert sorted(listed.tolist()) == sorted(best)
        np.testing.assert_array_equal(lists.quality[lists.offsets[row] : lists.offsets[row + 1]], good[listed])


def test_whoever_keeps_up_takes_the_listing_off_the_requests() -> None:
    known, asked = catalogue(), []

    def counted(now: int, items: int) -> Float32:
        asked.append(now)
        return quality(now, items)

    found = FavouriteTopics(FavouriteTopicsConfig(refresh_seconds=300), lambda: known, counted, WEIGHT, LEAST)
    later = NOW + 301_000
    found(requests_of([[1]], now=NOW), 5)
    found(requests_of([[1]], now=later), 5)
    assert asked == [NOW, later]
    found.keep_up(later)
    found.keep_up(later + 1)
    assert len(found(requests_of([[1]], now=later + 301_000), 5)) == 5
    assert asked == [NOW, later]
    found.keep_up(later + 301_000)
    assert asked == [NOW, later, later + 301_000]


def test_topics_that_came_after_the_lists_are_leant_to_but_propose_nothing() -> None:
    known = [catalogue()]
    found = FavouriteTopics(FavouriteTopicsConfig(), lambda: known[-1], quality, WEIGHT, LEAST)
    found.keep_up(NOW)
    grown = catalogue()
    known.append(replace(grown, category=np.full_like(grown.category, TOPICS + 1), author=np.full(ITEMS, 3, np.int32)))
    requests = requests_of([[1, 5]], now=NOW)
    assert len(found(requests, 5)) == 0
    assert (found.score(requests, Candidates(np.array([9], np.int32), np.array([0, 1]))) > 0).all()
