"""Less value for what this user was shown lately and did not take: a refresh brings something else of like worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.types import Candidates, Float32, Float64, History, Int64, Requests

HOUR_MS = 3_600_000


@dataclass(slots=True)
class Fatigue:
    """A Boost below 0: ``(1 - share) ^ n - 1``, where n counts the impressions of the item since the user took it.

    An impression counts 1 at first and half after each half-life; one that the user answered (with anything) and those
    before it count 0. Impressions are those of the last-k history ``requests.shown``.
    """

    share: float  # of the value that one impression takes away
    half_life_hours: float
    name: str = "fatigue"

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32:
        if self.share <= 0 or not (requests.shown.item >= 0).any():
            return np.zeros(len(candidates), np.float32)
        keys, times = ignored(requests, self.half_life_hours)
        if not len(keys):
            return np.zeros(len(candidates), np.float32)
        wanted = candidates.request << 32 | candidates.item
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        shown = np.where(keys[place] == wanted, times[place], 0.0)
        return np.asarray((1.0 - self.share) ** shown - 1.0, np.float32)


def ignored(requests: Requests, half_life_hours: float) -> tuple[Int64, Float64]:
    """Rising keys (request << 32 | item), and how many fresh impressions of each nobody answered."""
    shown, at = _entries(requests.shown)
    acted, acted_at = _entries(requests.acted)
    keys: Int64
    keys, place = np.unique(np.concatenate([shown, acted]), return_inverse=True)
    answered = np.full(len(keys), np.iinfo(np.int64).min)
    np.maximum.at(answered, place[len(shown) :], acted_at)
    place = place[: len(shown)]
    hours = np.maximum(requests.now[shown >> 32] - at, 0) / HOUR_MS
    counted = np.where(at > answered[place], np.exp2(-hours / half_life_hours), 0.0)
    times = np.bincount(place, counted, len(keys)).astype(np.float64, copy=False)
    tired = times > 0
    return keys[tired], times[tired]


def _entries(history: History) -> tuple[Int64, Int64]:
    """(key, time) of every event of a history, ``[M]``."""
    request, slot = np.nonzero(history.item >= 0)
    key: Int64 = request.astype(np.int64) << 32 | history.item[request, slot]
    return key, history.at[request, slot]
