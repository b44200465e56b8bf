"""Draws a world by its seed: authors who specialise, items that come over time, users whose taste is narrow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.simulation.text import author_names, titles, topic_names
from upnext.simulation.world import DAY_MS, TYPICAL_SECONDS, World, WorldConfig
from upnext.types import Float32, Float64, Int8, Int16, Int32, Int64

APPEAL_SKEW = 0.3  # how unequal topics are in items and in followers: (1 + rank) ** -APPEAL_SKEW
STYLES = 8
ITEMS_PER_AUTHOR = 25
MOST_SUBTOPICS = 3  # of one item
SHARE_AT_START, PAST_DAYS = 0.6, 60
USERS_AT_START = 0.9
LEAST_ACTIVITY, ACTIVITY_TAIL = 0.75, 3.0
SELF_KNOWLEDGE = 4.0  # how surely users name their favourite topic when asked
MIN_LIKED, MAX_LIKED = 2, 4
SECOND = 0.3, 0.6  # interest in the liked topics beyond the favourite, which is 1
AGE_LEANING, COUNTRY_LEANING = 1.0, 0.6
SUBTASTE_SHAPE = 20.0  # higher = a user likes the subtopics of a topic more alike

AGES = ("under 18", "18-24", "25-34", "35-49", "50 and over")
COUNTRIES = ("BR", "DE", "FR", "IN", "JP", "KE", "MX", "US")
DEVICES = ("phone", "tablet", "television")
ATTRIBUTES = {"age_group": AGES, "country": COUNTRIES, "device": DEVICES}

Columns = dict[str, Float32 | Int32 | Int64 | Int16 | Int8]


def make_world(config: WorldConfig) -> World:
    """The truth of the world that ``config`` describes; the same config gives the same world."""
    leaves = config.topics * config.subtopics
    appeal = np.repeat((1.0 + np.arange(config.topics)) ** -APPEAL_SKEW, config.subtopics)
    authors = _authors(max(2, config.items // ITEMS_PER_AUTHOR), appeal, config.stream("authors"))
    items = _items(config, authors, appeal, config.stream("items"))
    topics = np.asarray(items["item_topic"], np.float32).reshape(config.items, leaves)
    return World(
        config,
        topic_names(config.topics),
        author_names(len(authors.home), config.stream("author names")),
        titles(topics, config.topics, config.stream("titles")),
        **items,  # type: ignore[arg-type]
        **_users(config, appeal[:: config.subtopics], config.stream("users")),  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class _Authors:
    home: Int64  # [A], the subtopic each is at home in
    second: Int64  # [A], another subtopic
    style: Float64  # [A, L]
    quality: Float64  # [A]
    output: Float64  # [A], share of all items


def _authors(count: int, appeal: Float64, rng: np.random.Generator) -> _Authors:
    output = (1.0 + np.arange(count)) ** -0.5
    return _Authors(
        rng.choice(len(appeal), count, p=appeal / appeal.sum()),
        rng.choice(len(appeal), count, p=appeal / appeal.sum()),
        rng.normal(size=(count, STYLES)),
        rng.normal(0, 0.65, count),
        output / output.sum(),
    )


def _items(config: WorldConfig, authors: _Authors, appeal: Float64, rng: np.random.Generator) -> Columns:
    count = config.items
    author = rng.choice(len(authors.output), count, p=authors.output)
    seconds = np.exp(rng.normal(np.log(TYPICAL_SECONDS), 0.6, count))
    style = 0.8 * authors.style[author] + 0.6 * rng.normal(size=(count, STYLES))
    return {
        "item_topic": _subtopics(config, authors, author, appeal, rng),
        "item_style": style.astype(np.float32) / np.float32(np.sqrt(STYLES)),
        "author": author.astype(np.int32),
        "quality": (authors.quality[author] + rng.normal(0, 0.45, count)).astype(np.float32),
        "duration": np.clip(seconds, 15, 7200).round().astype(np.float32),
        "published_at": _published_at(config, rng),
        "item_like": rng.normal(0, 0.3, count).astype(np.float32),
        "item_share": rng.normal(0, 0.3, count).astype(np.float32),
    }


def _subtopics(
    config: WorldConfig, authors: _Authors, author: Int64, appeal: Float64, rng: np.random.Generator
) -> Float32:
    """Mostly the author's home, sometimes its topic at large, the author's other field, or anything."""
    count, width = len(author), config.subtopics
    home = authors.home[author]
    neighbour = home // width * width + rng.integers(0, width, count)
    anything = rng.choice(len(appeal), (count, MOST_SUBTOPICS), p=appeal / appeal.sum())
    kind = rng.choice(4, count, p=[0.5, 0.2, 0.2, 0.1])
    main = np.choose(kind, [home, neighbour, authors.second[author], anything[:, 0]])
    weight = np.zeros((count, MOST_SUBTOPICS))
    weight[:, 0] = 1.0
    how_many = rng.choice(MOST_SUBTOPICS, count, p=[0.6, 0.3, 0.1])
    for extra in range(1, MOST_SUBTOPICS):
        weight[:, extra] = np.where(how_many >= extra, rng.uniform(0.1, 0.45, count), 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    share = np.zeros((count, len(appeal)), np.float32)
    columns = np.column_stack([main, anything[:, 1:]])
    np.add.at(share, (np.arange(count)[:, None], columns), weight)
    return share


def _published_at(config: WorldConfig, rng: np.random.Generator) -> Int64:
    old = round(config.items * SHARE_AT_START)
    past = config.start_at - rng.uniform(0, PAST_DAYS * DAY_MS, old)
    past[0] = config.start_at - PAST_DAYS * DAY_MS  # there is always something to show
    during = rng.uniform(config.start_at, config.end_at, config.items - old)
    return np.sort(np.concatenate([past, during])).astype(np.int64)


def _users(config: WorldConfig, appeal: Float64, rng: np.random.Generator) -> Columns:
    count, width = config.users, config.topics * config.subtopics
    attribute = np.column_stack([rng.choice(len(names), count) for names in ATTRIBUTES.values()])
    leaning = np.log(appeal) + _leaning(config, attribute, rng)
    before = _taste(leaning, rng)
    share = np.minimum(rng.uniform(0, 2 * config.drift, count), 1.0)
    after = (1 - share)[:, None] * before + share[:, None] * _taste(leaning, rng)
    subtaste = rng.gamma(SUBTASTE_SHAPE, size=(count, config.topics, config.subtopics))
    subtaste /= subtaste.mean(axis=2, keepdims=True)
    late = rng.random(count) >= USERS_AT_START
    arrived = np.where(late, rng.uniform(config.start_at, config.end_at, count), config.start_at - PAST_DAYS * DAY_MS)
    activity = LEAST_ACTIVITY + rng.pareto(ACTIVITY_TAIL, count)
    patience = rng.normal(np.log(TYPICAL_SECONDS), 0.5, count) + 0.3 * (attribute[:, 2] - 1)
    return {
        "taste_before": before.astype(np.float32),
        "taste_after": (after / after.max(axis=1, keepdims=True)).astype(np.float32),
        "drift_at": rng.uniform(config.start_at, config.end_at, count).astype(np.int64),
        "drift_span": (DAY_MS * config.days * rng.uniform(0.02, 0.15, count)).astype(np.float32),
        "subtaste": subtaste.reshape(count, width).astype(np.float32),
        "user_style": rng.normal(size=(count, STYLES)).astype(np.float32),
        "patience": patience.astype(np.float32),
        "activity": (activity / activity.mean()).astype(np.float32),
        "arrived_at": arrived.astype(np.int64),
        "attribute": attribute.astype(np.int8),
        "picked": _picked(before, rng),
    }


def _leaning(config: WorldConfig, attribute: Int64, rng: np.random.Generator) -> Float64:
    """How each user's age and country tilt the log odds of liking a topic, ``[U, T]``."""
    age = rng.normal(0, AGE_LEANING, (len(AGES), config.topics))
    country = rng.normal(0, COUNTRY_LEANING, (len(COUNTRIES), config.topics))
    return np.asarray(age[attribute[:, 0]] + country[attribute[:, 1]])


def _taste(leaning: Float64, rng: np.random.Generator) -> Float64:
    """Few topics a user: the strength falls quickly from the favourite (1) on, ``[U, T]``."""
    gumbel = leaning + rng.gumbel(size=leaning.shape)
    rank = np.argsort(np.argsort(-gumbel, axis=1), axis=1)
    how_many = rng.integers(MIN_LIKED, MAX_LIKED + 1, (len(leaning), 1))
    strength = np.where(rank == 0, 1.0, rng.uniform(*SECOND, leaning.shape))
    return np.where(rank < how_many, strength, 0.08 * rng.random(leaning.shape))


def _picked(taste: Float64, rng: np.random.Generator) -> Int16:
    """What each user answers when asked for a topic on arrival: most often, but not always, the favourite."""
    said = SELF_KNOWLEDGE * np.log(np.maximum(taste, 1e-3)) + rng.gumbel(size=taste.shape)
    return np.asarray(said.argmax(axis=1), np.int16)
