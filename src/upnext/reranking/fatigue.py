"""Less value for what this user was shown lately and did not take: a refresh brings something else of like worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.compiled import compiled
from upnext.types import Candidates, Float32, Int32, Int64, Requests

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
        change = np.zeros(len(candidates), np.float32)
        if self.share > 0:
            shown, acted, half_life = requests.shown, requests.acted, self.half_life_hours * HOUR_MS
            tired = shown.item, shown.at, acted.item, acted.at, requests.now
            _tire(*tired, candidates.item, candidates.offsets, float(self.share), half_life, change)
        return change


@compiled("bool_(int32[:], int64[:], int32, int64)")
def _answered(acted: Int32, acted_at: Int64, code: int, shown_at: int) -> bool:
    """Whether the user did anything with the item when it was shown, or later."""
    for slot in range(len(acted)):  # noqa: SIM110 (no generators in compiled loops)
        if acted[slot] == code and acted_at[slot] >= shown_at:
            return True
    return False


@compiled(
    "void(int32[:, :], int64[:, :], int32[:, :], int64[:, :], int64[:], int32[::1], int64[::1], float64, float64,"
    " float32[::1])"
)
def _tire(
    shown: Int32,
    shown_at: Int64,
    acted: Int32,
    acted_at: Int64,
    now: Int64,
    item: Int32,
    offsets: Int64,
    share: float,
    half_life: float,
    change: Float32,
) -> None:
    """``change [N]`` from histories ``[B, K]``: who was shown an item and has not acted on it since is tired of it.

    ``tired`` and ``times`` are the user's items and their fresh impressions: so few that looking through them is
    quicker than any order.
    """
    slots = shown.shape[1]
    for request in range(len(offsets) - 1):
        tired, times, known = np.empty(slots, np.int32), np.zeros(slots), 0
        for slot in range(slots):
            code = shown[request, slot]
            if code < 0 or _answered(acted[request], acted_at[request], code, shown_at[request, slot]):
                continue
            place = 0
            while place < known and tired[place] != code:
                place += 1
            tired[place] = code
            known = max(known, place + 1)
            age = max(now[request] - shown_at[request, slot], 0)
            times[place] += 2.0 ** (-age / half_life)
        for row in range(offsets[request], offsets[request + 1]):
            for place in range(known):
                if tired[place] == item[row]:
                    change[row] = (1.0 - share) ** times[place] - 1.0
