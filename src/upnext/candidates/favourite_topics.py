"""The best of the categories and authors that a user turns to most: what content and quality say, without neighbours.

It reaches items that too few people have met for any factorisation to know them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.candidates.history import preference
from upnext.candidates.remembered import Remembered
from upnext.candidates.topk import best, none
from upnext.config import FavouriteTopicsConfig
from upnext.types import Candidates, Catalogue, Float32, Float64, Int32, Int64, Requests

LATER_CATEGORIES = 0.5  # weight of a second, third... category against the main one
AUTHOR = 0.5  # weight of the author against the main category


@dataclass(frozen=True, slots=True)
class _Topics:
    """What holds until the next refresh. Topics are categories, then authors; items of topic t best first."""

    group: Int32  # [I, G] topics of every item, -1 padded
    weight: Float32  # [G] how much each column of group counts
    rarity: Float32  # [T] inverse document frequency
    quality: Float32  # [I]
    items: Int32
    offsets: Int64  # [T + 1] into items


@dataclass(frozen=True, slots=True)
class _Affinity:
    """How much each request leans to each topic, by rising ``key`` = request << 32 | topic."""

    key: Int64
    value: Float64


class FavouriteTopics:
    """Source and PairScorer. Proposes by (leaning to the item's topics) x (the item's quality).

    A pair's score is the leaning alone: the ranker reads qualities from the counters, as of each moment.
    """

    name = "favourite_topics"

    def __init__(
        self,
        config: FavouriteTopicsConfig,
        catalogue: Callable[[], Catalogue],
        quality: Callable[[int, int], Float32],
        weight: Float32,
        least: Float32,
    ) -> None:
        """``quality(now, items)`` is the expected response to each item, ``[items]``, above 0."""
        self._config, self._catalogue, self._quality = config, catalogue, quality
        self._weight, self._least = weight, least
        self._cached: tuple[tuple[int, int], _Topics] | None = None
        self._leanings = Remembered(self._lean)

    def __call__(self, requests: Requests, k: int) -> Candidates:
        if k == 0 or not len(requests):
            return none(len(requests))
        topics, affinity = self._leanings(requests)
        lean = self._strongest(affinity, len(requests))
        request, topic = lean.key >> 32, lean.key & 0xFFFFFFFF
        size = topics.offsets[topic + 1] - topics.offsets[topic]
        place = np.repeat(topics.offsets[topic] - (np.cumsum(size) - size), size) + np.arange(size.sum())
        key = np.unique(np.repeat(request, size) << 32 | topics.items[place])
        item, of = (key & 0xFFFFFFFF).astype(np.int32), key >> 32
        score = self._leaning(topics, lean, of, item) * topics.quality[item]
        keep = score > 0
        return best(of[keep], item[keep], score[keep], len(requests), k)

    def score(self, requests: Requests, candidates: Candidates) -> Float32:
        if not len(requests):
            return np.zeros(len(candidates), np.float32)
        topics, affinity = self._leanings(requests)
        return self._leaning(topics, affinity, candidates.request, candidates.item)

    def _leaning(self, topics: _Topics, lean: _Affinity, request: Int64, item: Int32) -> Float32:
        known = (item >= 0) & (item < len(topics.quality))
        if not len(lean.key) or not known.any():
            return np.zeros(len(item), np.float32)
        row = np.where(known, item, 0)
        group = topics.group[row]
        key = request[:, None] << 32 | group
        place = np.minimum(np.searchsorted(lean.key, key), len(lean.key) - 1)
        value = np.where((lean.key[place] == key) & (group >= 0), lean.value[place], 0.0) @ topics.weight
        return np.where(known, value, 0).astype(np.float32)

    def _lean(self, requests: Requests) -> tuple[_Topics, _Affinity]:
        topics = self._topics(int(requests.now.max()))
        return topics, self._affinity(requests, topics)

    def _affinity(self, requests: Requests, topics: _Topics) -> _Affinity:
        """Shares of the decayed positive history, times the topic's rarity; they sum to about 1 a request."""
        liked = preference(requests.acted, self._weight, self._least)
        item = requests.acted.item
        back = np.arange(item.shape[1])[::-1]
        liked = liked * (item < len(topics.group)) * np.exp2(-back / self._config.history_half_life)
        request, slot = np.nonzero(liked > 0)
        group = topics.group[item[request, slot]]
        column = np.broadcast_to(topics.weight, group.shape)
        weight = liked[request, slot][:, None] * column
        total = np.bincount(request, weight[:, 0], len(requests))
        known = group >= 0
        key = (request[:, None] << 32 | group)[known]
        keys, place = np.unique(key, return_inverse=True)
        value = np.bincount(place, weight[known], len(keys))
        rarity = topics.rarity[keys & 0xFFFFFFFF]
        return _Affinity(keys, value * rarity / np.maximum(total[keys >> 32], 1e-9))

    def _strongest(self, lean: _Affinity, batch: int) -> _Affinity:
        """The ``topics`` strongest leanings of every request."""
        request = lean.key >> 32
        order = np.lexsort((-lean.value, request))
        start = np.searchsorted(request, np.arange(batch))
        keep = np.sort(order[np.arange(len(order)) - start[request[order]] < self._config.topics])
        return _Affinity(lean.key[keep], lean.value[keep])

    def _topics(self, now: int) -> _Topics:
        catalogue = self._catalogue()
        stamp = now // (self._config.refresh_seconds * 1000), len(catalogue)
        cached = self._cached
        if cached is None or cached[0] != stamp:
            cached = stamp, self._build(catalogue, now)
            self._cached = cached
        return cached[1]

    def _build(self, catalogue: Catalogue, now: int) -> _Topics:
        quality = self._quality(now, len(catalogue))
        categories = int(catalogue.category.max(initial=-1)) + 1
        author = np.where(catalogue.author >= 0, catalogue.author + categories, -1)
        used = max(int((catalogue.category >= 0).any(axis=0).sum()), 1)  # an item's categories come first, then -1
        group = np.concatenate([catalogue.category[:, :used], author[:, None]], axis=1).astype(np.int32)
        weight = np.full(group.shape[1], LATER_CATEGORIES, np.float32)
        weight[0], weight[-1] = 1.0, AUTHOR
        shown = catalogue.available & (catalogue.published_at <= now)
        item, column = np.nonzero((group >= 0) & shown[:, None])
        topic = group[item, column]
        size = np.bincount(topic, minlength=int(group.max(initial=-1)) + 1)
        order = np.lexsort((-quality[item], topic))
        rank = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
        order = order[rank < self._config.items_a_topic]
        kept = np.minimum(size, self._config.items_a_topic)
        offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        rarity = np.log1p(len(catalogue) / np.maximum(size, 1)).astype(np.float32)
        return _Topics(group, weight, rarity, quality, item[order].astype(np.int32), offsets)
