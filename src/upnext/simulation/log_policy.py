"""The recommender that was there before: it chose what the log shows, and learned only from its own log.

A slate mixes what is popular now, guesses from each user's clicks by topic, and random items; nobody is shown
an item twice. Of the truth it knows only the items' main topics and what users said of themselves.
"""

from __future__ import annotations

import numpy as np

from upnext.simulation.shown import Shown
from upnext.types import Bool, Float64, Int16, Int32, Int64

PERSONAL, POPULAR, RANDOM = 24, 12, 24  # candidates by where they come from
EXPLORED = 0.12  # share of a slate that goes to random candidates, wherever they stand
HALF_LIFE_HOURS = 96.0
PRIOR_IMPRESSIONS = 8.0  # an item's click rate is pulled to the mean by this many
GREED = 1.5  # how much more often topics of a high click rate are drawn; 0 = all alike
HOPE = 0.5  # click rate of a topic not tried yet, in mean click rates
PICKED = 5.0  # times this for the topic that the user named
PRIOR_TASTE = 4.0  # impressions in a topic that weigh as much as that
PERSONAL_WEIGHT, NOISE = 1.0, 0.35  # of the log click rates of user and topic; of the Gumbel noise


class LogPolicy:
    """Counters by item ``[I]`` and by user and topic ``[U, T]``, and which items each user was shown."""

    def __init__(self, topic: Int32, picked: Int16, topics: int, slate_size: int) -> None:
        items, users = len(topic), len(picked)
        self._topic = topic.astype(np.int16)  # [I], the main topic of each item; stable sorts of 16 bits are linear
        self._picked = picked  # [U], the topic each user named on arrival
        self._slate_size = slate_size
        self._shown = np.zeros(items)
        self._clicked = np.zeros(items)
        self._taste_shown = np.zeros((users, topics), np.float32)
        self._taste_clicked = np.zeros((users, topics), np.float32)
        self._seen = Shown(items)
        self._rate = 0.1

    def refresh(self, available: int, hours: float) -> None:
        """Let ``hours`` pass and rank anew the first ``available`` items, those that are published."""
        fade = 0.5 ** (hours / HALF_LIFE_HOURS)
        self._shown *= fade
        self._clicked *= fade
        self._available = available
        self._rate = (self._clicked.sum() + 1) / (self._shown.sum() + 10)
        met = np.flatnonzero(self._shown > 0)
        smoothed = (self._clicked[met] + PRIOR_IMPRESSIONS * self._rate) / (self._shown[met] + PRIOR_IMPRESSIONS)
        self._appeal = np.full(len(self._topic), np.log(self._rate))
        self._appeal[met] = np.log(smoothed)
        met = met[met < available]
        appeal = self._appeal[met]
        self._by_heat = self._ranked(met, self._clicked[met] + 1e-3 * appeal, 1e-3 * np.log(self._rate))
        by_appeal = self._ranked(met, appeal, np.log(self._rate))
        self._by_topic = by_appeal[np.argsort(self._topic[by_appeal], kind="stable")]
        sizes = np.bincount(self._topic[:available], minlength=self._taste_shown.shape[1])
        self._topic_start = np.concatenate([[0], np.cumsum(sizes)])

    def _ranked(self, met: Int64, score: Float64, of_others: float) -> Int64:
        """The available items by descending score, the older first of equals. Only those that were ``met`` differ."""
        other = np.ones(self._available, np.bool_)
        other[met] = False
        order = np.argsort(-score, kind="stable")
        above = int(np.count_nonzero(score > of_others))
        return np.concatenate([met[order[:above]], np.flatnonzero(other), met[order[above:]]])

    def forget_shown(self) -> None:
        """From now on every item may be shown to everybody once more."""
        self._seen.forget()

    def slates(self, users: Int32, rng: np.random.Generator) -> Int32:
        """Items for users ``[n]``, each user at most once: ``[n, slate_size]``, -1 where nothing unseen is left."""
        items = self._candidates(users, rng)
        rows = np.arange(len(users))[:, None]
        order = np.argsort(items, axis=1, kind="stable")
        ordered = np.take_along_axis(items, order, axis=1)
        repeated = np.zeros(items.shape, bool)
        repeated[rows, order[:, 1:]] = ordered[:, 1:] == ordered[:, :-1]
        usable = ~repeated & ~self._seen(users[:, None], items)
        score = np.where(usable, self._scores(users, items, rng), -np.inf)
        score = self._explore(score, rng)
        best = np.argsort(-score, axis=1, kind="stable")[:, : self._slate_size]
        slate = np.where(np.isfinite(score[rows, best]), items[rows, best], -1).astype(np.int32)
        self._fill(users, slate, rng)
        self._seen.add(np.broadcast_to(users[:, None], slate.shape)[slate >= 0], slate[slate >= 0])
        return slate

    def learn(self, users: Int32, slates: Int32, clicked: Bool) -> None:
        """Count what was shown ``[n, k]`` and clicked."""
        real = slates >= 0
        items, clicks = slates[real], clicked[real]
        people = np.broadcast_to(users[:, None], slates.shape)[real]
        topic = self._topic[items]
        for counter, keys in (
            ((self._shown, self._clicked), (items,)),
            ((self._taste_shown, self._taste_clicked), (people, topic)),
        ):
            np.add.at(counter[0], keys, 1.0)
            np.add.at(counter[1], tuple(key[clicks] for key in keys), 1.0)

    def _taste(self, users: Int32) -> Float64:
        """Each user's click rate by topic, pulled to what they said on arrival: ``[n, T]``."""
        prior = np.full((len(users), self._taste_shown.shape[1]), HOPE * self._rate)
        prior[np.arange(len(users)), self._picked[users]] *= PICKED
        clicked = self._taste_clicked[users] + PRIOR_TASTE * prior
        return np.asarray(clicked / (self._taste_shown[users] + PRIOR_TASTE))

    def _candidates(self, users: Int32, rng: np.random.Generator) -> Int64:
        """``[n, C]`` items; a small catalogue is taken whole instead of the random part."""
        count = len(users)
        personal = self._personal(users, rng)
        popular = self._by_heat[_zipf(self._available, (count, POPULAR), rng)]
        random = max(RANDOM, 2 * self._slate_size)
        if self._available <= 4 * random:
            anything = np.broadcast_to(np.arange(self._available), (count, self._available))
        else:
            anything = rng.integers(0, self._available, (count, random))
        return np.concatenate([personal, popular, anything], axis=1)

    def _personal(self, users: Int32, rng: np.random.Generator) -> Int64:
        """Topics by the user's click rates so far, items by click rate within the topic."""
        taste = self._taste(users) ** GREED * (np.diff(self._topic_start) > 0)
        cumulative = np.cumsum(taste, axis=1)
        drawn = rng.random((len(users), PERSONAL, 1)) * cumulative[:, None, -1:]
        topic = np.minimum((cumulative[:, None, :] <= drawn).sum(axis=2), taste.shape[1] - 1)
        start, stop = self._topic_start[topic], self._topic_start[topic + 1]
        return self._by_topic[np.minimum(start + _zipf(stop - start, topic.shape, rng), self._available - 1)]

    def _scores(self, users: Int32, items: Int64, rng: np.random.Generator) -> Float64:
        taste = np.log(np.take_along_axis(self._taste(users), self._topic[items].astype(np.int64), axis=1))
        noise = rng.gumbel(size=items.shape)
        return np.asarray(self._appeal[items] + PERSONAL_WEIGHT * taste + NOISE * noise)

    def _explore(self, score: Float64, rng: np.random.Generator) -> Float64:
        """Some random candidates get the score of a random position of the slate."""
        first = PERSONAL + POPULAR
        best = -np.sort(-score, axis=1)[:, : self._slate_size]
        shape = score[:, first:].shape
        position = rng.integers(0, best.shape[1], shape)
        level = np.take_along_axis(best, position, axis=1)
        chosen = (rng.random(shape) < EXPLORED * best.shape[1] / shape[1]) & np.isfinite(score[:, first:])
        explored = score.copy()
        explored[:, first:] = np.where(chosen & np.isfinite(level), level + 1e-9, score[:, first:])
        return explored

    def _fill(self, users: Int32, slates: Int32, rng: np.random.Generator) -> None:
        """Who has seen nearly all candidates gets random unseen items into the empty slots, in place."""
        for row in np.flatnonzero((slates < 0).any(axis=1)):
            unseen = np.ones(len(self._topic), np.bool_)
            unseen[self._seen.of(int(users[row]))] = False
            unseen[slates[row][slates[row] >= 0]] = False
            unseen = rng.permutation(np.flatnonzero(unseen[: self._available]))
            empty = np.flatnonzero(slates[row] < 0)[: len(unseen)]
            slates[row, empty] = unseen[: len(empty)]


def _zipf(size: Int64 | int, shape: tuple[int, ...], rng: np.random.Generator) -> Int64:
    """Ranks below ``size`` with a chance of about 1 / (1 + rank)."""
    least_one = np.maximum(size, 1)
    rank = np.power(least_one + 1.0, rng.random(shape)) - 1
    return np.asarray(np.minimum(rank.astype(np.int64), least_one - 1))
