"""Words, titles and names of a simulated world: each topic and subtopic has its own made-up vocabulary."""

from __future__ import annotations

import numpy as np

from upnext.types import Float32, Float64, Int64

TOPICS = (
    "Cooking", "Gaming", "Music", "Football", "Travel", "Comedy", "Science", "Fashion",
    "Fitness", "Cars", "Pets", "Movies", "Gardening", "Politics", "Finance", "History",
    "Anime", "Crafts", "Photography", "Space", "Parenting", "Coding", "Nature", "Dance",
    "Chess", "Cycling", "Painting", "Theatre", "Sailing", "Poetry", "Climbing", "Magic",
)  # fmt: skip

COMMON_WORDS, TOPIC_WORDS, SUBTOPIC_WORDS = 200, 20, 12
SHORTEST, LONGEST = 3, 6
TOPICAL = 0.6  # share of a title's words that speak of its topics
ITEMS_A_PART = 100_000  # what is as wide as there are subtopics is made of so many items at once
SPECIFIC = 0.6  # share of those that speak of the subtopic

ONSETS = (*"bdfghjklmnprstvwz", "br", "dr", "gr", "kr", "pl", "st", "tr", "sh")
VOWELS = (*"aeiou", "ai", "ea", "ou")
CODAS = ("", "", "", *"nrlsmk")


def topic_names(topics: int) -> tuple[str, ...]:
    """Readable and distinct; beyond the known ones a number is added."""
    return tuple(
        TOPICS[n % len(TOPICS)] + (f" {n // len(TOPICS) + 1}" if n >= len(TOPICS) else "") for n in range(topics)
    )


def words(count: int, rng: np.random.Generator) -> list[str]:
    """Distinct pronounceable words of two or three syllables."""
    syllables = np.array([onset + vowel + coda for onset in ONSETS for vowel in VOWELS for coda in CODAS])
    found: dict[str, None] = {}
    while len(found) < count:
        drawn = rng.choice(syllables, (count, 3))
        drawn[rng.random(count) < 0.6, 2] = ""
        found.update(dict.fromkeys("".join(row) for row in drawn.tolist()))
    return list(found)[:count]


def author_names(count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Distinct first and last names."""
    last = [word.capitalize() for word in words(count, rng)]
    first = [word.capitalize() for word in words(min(count, 60), rng)]
    chosen = rng.integers(0, len(first), count)
    return tuple(f"{first[n]} {name}" for n, name in zip(chosen.tolist(), last, strict=True))


def titles(item_topic: Float32, topics: int, rng: np.random.Generator) -> list[str]:
    """A title an item, of up to 6 words, by its shares of subtopics ``[I, topics * S]``.

    The first word always speaks of a subtopic.
    """
    items, leaves = item_topic.shape
    vocabulary = np.array(words(COMMON_WORDS + topics * TOPIC_WORDS + leaves * SUBTOPIC_WORDS, rng))
    shape = (items, LONGEST)
    drawn = rng.random(shape)
    leaf = np.concatenate([_draw_rows(item_topic[part], drawn[part]) for part in _parts(items)])
    topical = rng.random(shape) < TOPICAL
    specific = rng.random(shape) < SPECIFIC
    topical[:, 0] = specific[:, 0] = True
    topic_start = COMMON_WORDS + leaf // (leaves // topics) * TOPIC_WORDS
    leaf_start = COMMON_WORDS + topics * TOPIC_WORDS + leaf * SUBTOPIC_WORDS
    start = np.where(topical, np.where(specific, leaf_start, topic_start), 0)
    size = np.where(topical, np.where(specific, SUBTOPIC_WORDS, TOPIC_WORDS), COMMON_WORDS)
    rank = (size * rng.random(shape) ** 2).astype(np.int64)  # some words are used more than others
    sizes = rng.integers(SHORTEST, LONGEST + 1, (items,))
    return [
        " ".join(list(dict.fromkeys(row))[:size]).capitalize()
        for part in _parts(items)
        for row, size in zip(vocabulary[start[part] + rank[part]].tolist(), sizes[part].tolist(), strict=True)
    ]


def _parts(items: int) -> list[slice]:
    return [slice(first, first + ITEMS_A_PART) for first in range(0, items, ITEMS_A_PART)]


def _draw_rows(share: Float32, uniform: Float64) -> Int64:
    """For each row, column numbers drawn by ``share [I, C]``, one a uniform number ``[I, W]``."""
    cumulative = np.cumsum(share, axis=1)
    cumulative /= cumulative[:, -1:]
    drawn = np.zeros(uniform.shape, np.int64)
    for column in range(uniform.shape[1]):
        drawn[:, column] = (cumulative < uniform[:, column, None]).sum(axis=1)
    return np.minimum(drawn, share.shape[1] - 1)
