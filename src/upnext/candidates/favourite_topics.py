"""The best of the categories and authors that a user turns to most: what content and quality say, without neighbours.

It reaches items that too few people have met for any factorisation to know them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.candidates.history import preference
from upnext.candidates.keys import best_of_keys, keys_of
from upnext.candidates.remembered import Remembered
from upnext.candidates.topic_lists import TopicLists, list_topics
from upnext.candidates.topk import none
from upnext.compiled import compiled
from upnext.config import FavouriteTopicsConfig
from upnext.types import Candidates, Catalogue, Float32, Float64, Int32, Int64, Requests, ragged_rows

LATER_CATEGORIES = 0.5  # weight of a second, third... category against the main one
AUTHOR = 0.5  # weight of the author against the main category
AUTHORS = 1 << 32  # topics are categories by their code, and authors by theirs plus this
GROWTH = 1.01  # a catalogue this many times as large is listed anew before its time


@dataclass(frozen=True, slots=True)
class _Leanings:
    """How much each request leans to each topic, ragged over requests."""

    offsets: Int64  # [B + 1]
    topic: Int64
    value: Float64


class FavouriteTopics:
    """Source and PairScorer. Proposes by (leaning to the item's topics) x (the item's quality).

    A pair's score is the leaning alone: the ranker reads qualities from the counters, as of each moment.
    Whoever calls ``keep_up`` now and then takes the making of the lists off the requests.
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
        self._listed: tuple[tuple[int, int], TopicLists] | None = None  # as of (period, size of the catalogue)
        self._kept_up = False
        self._leanings = Remembered(self._lean)

    def __call__(self, requests: Requests, k: int) -> Candidates:
        if k == 0 or not len(requests):
            return none(len(requests))
        catalogue, topics, lean = self._leanings(requests)
        strong = _strongest(lean.offsets, lean.topic, lean.value, self._config.topics)
        offsets, item, quality = _listed(*strong[:2], topics.categories, topics.offsets, topics.items, topics.quality)
        score = quality * _scores(*strong, offsets, item, catalogue.category, catalogue.author)
        above = score > 0
        return best_of_keys(keys_of(ragged_rows(offsets), item)[above], score[above], len(requests), k)

    def score(self, requests: Requests, candidates: Candidates) -> Float32:
        if not len(requests):
            return np.zeros(len(candidates), np.float32)
        catalogue, _, lean = self._leanings(requests)
        own = lean.offsets, lean.topic, lean.value
        return _scores(*own, candidates.offsets, candidates.item, catalogue.category, catalogue.author)

    def keep_up(self, now: int) -> None:
        """Make the lists anew when it is time to; from the first call on, requests take them as they are."""
        catalogue, listed = self._catalogue(), self._listed
        stamp = self._stamp(catalogue, now)
        if listed is None or listed[0][0] != stamp[0] or stamp[1] > GROWTH * listed[0][1]:
            self._listed = stamp, self._build(catalogue, now)
        self._kept_up = True

    def _lean(self, requests: Requests) -> tuple[Catalogue, TopicLists, _Leanings]:
        """Shares of the decayed positive history, times the topic's rarity; they sum to about 1 a request."""
        catalogue = self._catalogue()
        topics = self._topics(catalogue, int(requests.now.max()))
        acted = requests.acted
        fading = np.exp2(-np.arange(acted.item.shape[1])[::-1] / self._config.history_half_life)
        liked = preference(acted, self._weight, self._least).astype(np.float64) * fading
        lean = _leanings(acted.item, liked, catalogue.category, catalogue.author, topics.categories, topics.rarity)
        return catalogue, topics, _Leanings(*lean)

    def _topics(self, catalogue: Catalogue, now: int) -> TopicLists:
        listed, stamp = self._listed, self._stamp(catalogue, now)
        if listed is None or not (self._kept_up or listed[0] == stamp):
            listed = self._listed = stamp, self._build(catalogue, now)
        return listed[1]

    def _stamp(self, catalogue: Catalogue, now: int) -> tuple[int, int]:
        return now // (self._config.refresh_seconds * 1000), len(catalogue)

    def _build(self, catalogue: Catalogue, now: int) -> TopicLists:
        quality = self._quality(now, len(catalogue))
        return list_topics(catalogue, quality, now, self._config.items_a_topic)


@compiled("int64(int64)")
def _room(entries: int) -> int:
    """Slots of a hash table that so many entries fill by half at most: a power of two."""
    room = 16
    while room < 2 * entries:
        room *= 2
    return room


@compiled("int64(int64, int64, int64)")
def _row(topic: int, categories: int, rows: int) -> int:
    """The row of a topic in the lists; -1 = it came after they were made."""
    row = topic if topic < AUTHORS else topic - AUTHORS + categories
    return row if row < (categories if topic < AUTHORS else rows) else -1


@compiled(
    "Tuple((int64[::1], int64[::1], float64[::1]))"
    "(int32[:, :], float64[:, :], int32[:, ::1], int32[::1], int64, float32[::1])"
)
def _leanings(
    item: Int32, liked: Float64, category: Int32, author: Int32, categories: int, rarity: Float32
) -> tuple[Int64, Int64, Float64]:
    """Leanings of each request, as the columns of ``_Leanings``, from its history and how much it was liked ``[B, K]``.

    A topic that came after the lists were made is as rare as can be.
    """
    batch, slots = item.shape
    columns = category.shape[1] + 1
    offsets = np.zeros(batch + 1, np.int64)
    topic, value = np.empty(batch * slots * columns, np.int64), np.empty(batch * slots * columns)
    table = np.empty(_room(slots * columns), np.int32)  # 1 + a topic's place, counted from the first; 0 = free
    filled = 0
    for request in range(batch):
        first, total = filled, 0.0
        table[:] = 0
        for slot in range(slots):
            amount, row = liked[request, slot], np.int64(item[request, slot])
            if not (amount > 0 and 0 <= row < len(author)):
                continue
            total += amount
            for column in range(columns):
                if column < columns - 1:
                    wanted, share = np.int64(category[row, column]), 1.0 if column == 0 else LATER_CATEGORIES
                else:
                    wanted, share = AUTHORS + author[row] if author[row] >= 0 else np.int64(-1), AUTHOR
                if wanted < 0:
                    continue
                free = (wanted * 2654435769 >> 7) & len(table) - 1
                while table[free] != 0 and topic[first + table[free] - 1] != wanted:
                    free = free + 1 & len(table) - 1
                if table[free] == 0:
                    table[free] = filled - first + 1
                    topic[filled], value[filled] = wanted, 0.0
                    filled += 1
                value[first + table[free] - 1] += amount * share
        for place in range(first, filled):
            listed = _row(topic[place], categories, len(rarity))
            rare = np.float64(rarity[listed]) if listed >= 0 else np.log(1.0 + len(author))
            value[place] *= rare / max(total, 1e-9)
        offsets[request + 1] = filled
    return offsets, topic[:filled].copy(), value[:filled].copy()


@compiled("Tuple((int64[::1], int64[::1], float64[::1]))(int64[::1], int64[::1], float64[::1], int64)")
def _strongest(offsets: Int64, topic: Int64, value: Float64, most: int) -> tuple[Int64, Int64, Float64]:
    """The ``most`` strongest leanings of each request, as the same columns; of equal ones the lower topic stays."""
    batch = len(offsets) - 1
    kept, kept_topic, kept_value = (
        np.zeros(batch + 1, np.int64),
        np.empty(batch * most, np.int64),
        np.empty(batch * most),
    )
    filled = 0
    for request in range(batch):
        first, full = filled, filled + most
        for place in range(offsets[request], offsets[request + 1]):
            rank = filled
            while rank > first and (
                value[place] > kept_value[rank - 1]
                or (value[place] == kept_value[rank - 1] and topic[place] < kept_topic[rank - 1])
            ):
                rank -= 1
            if rank < full:
                filled = min(filled + 1, full)
                for later in range(filled - 1, rank, -1):
                    kept_topic[later], kept_value[later] = kept_topic[later - 1], kept_value[later - 1]
                kept_topic[rank], kept_value[rank] = topic[place], value[place]
        kept[request + 1] = filled
    return kept, kept_topic[:filled].copy(), kept_value[:filled].copy()


@compiled(
    "Tuple((int64[::1], int32[::1], float32[::1]))(int64[::1], int64[::1], int64, int64[::1], int32[::1], float32[::1])"
)
def _listed(
    lean: Int64, topic: Int64, categories: int, offsets: Int64, items: Int32, quality: Float32
) -> tuple[Int64, Int32, Float32]:
    """The distinct items in the lists of each request's topics, ragged over requests: (offsets, item, quality)."""
    batch = len(lean) - 1
    rows = largest = 0  # of all requests, of the largest one
    for request in range(batch):
        size = 0
        for place in range(lean[request], lean[request + 1]):
            row = _row(topic[place], categories, len(offsets) - 1)
            size += offsets[row + 1] - offsets[row] if row >= 0 else 0
        rows += size
        largest = max(largest, size)
    found, item, good = np.zeros(batch + 1, np.int64), np.empty(rows, np.int32), np.empty(rows, np.float32)
    table = np.empty(_room(largest), np.int32)  # 1 + an item's place, counted from the first; 0 = free
    filled = 0
    for request in range(batch):
        first = filled
        table[:] = 0
        for place in range(lean[request], lean[request + 1]):
            row = _row(topic[place], categories, len(offsets) - 1)
            for entry in range(offsets[row], offsets[row + 1]) if row >= 0 else range(0):
                free = (items[entry] * 2654435769 >> 7) & len(table) - 1
                while table[free] != 0 and item[first + table[free] - 1] != items[entry]:
                    free = free + 1 & len(table) - 1
                if table[free] == 0:
                    table[free] = filled - first + 1
                    item[filled], good[filled] = items[entry], quality[entry]
                    filled += 1
        found[request + 1] = filled
    return found, item[:filled], good[:filled]


@compiled("float32[::1](int64[::1], int64[::1], float64[::1], int64[::1], int32[::1], int32[:, ::1], int32[::1])")
def _scores(
    lean: Int64, topic: Int64, value: Float64, offsets: Int64, item: Int32, category: Int32, author: Int32
) -> Float32:
    """The leaning of each row's request to its item: items ``[N]``, ragged by ``offsets``; 0 for unknown items."""
    found = np.zeros(len(item), np.float32)
    most = 0
    for request in range(len(lean) - 1):
        most = max(most, lean[request + 1] - lean[request])
    table = np.empty(_room(most), np.int64)  # 1 + the place of a topic; 0 = free
    columns, last = category.shape[1] + 1, len(table) - 1
    for request in range(len(lean) - 1):
        table[:] = 0
        for place in range(lean[request], lean[request + 1]):
            free = (topic[place] * 2654435769 >> 7) & last
            while table[free] != 0:
                free = free + 1 & last
            table[free] = place + 1
        for row in range(offsets[request], offsets[request + 1]):
            if not 0 <= item[row] < len(author):
                continue
            leaning = 0.0
            for column in range(columns):
                if column < columns - 1:
                    wanted, share = np.int64(category[item[row], column]), 1.0 if column == 0 else LATER_CATEGORIES
                else:
                    wanted, share = AUTHORS + author[item[row]] if author[item[row]] >= 0 else np.int64(-1), AUTHOR
                if wanted < 0:
                    continue
                slot = (wanted * 2654435769 >> 7) & last
                while table[slot] != 0 and topic[table[slot] - 1] != wanted:
                    slot = slot + 1 & last
                if table[slot] != 0:
                    leaning += value[table[slot] - 1] * share
            found[row] = leaning
    return found
