"""Watch it again: continue what was left unfinished, newest first; then what this user keeps coming back to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from upnext.candidates.history import preference
from upnext.candidates.keys import best_of_keys, keys_of
from upnext.candidates.topk import none
from upnext.compiled import compiled
from upnext.config import WatchAgainConfig
from upnext.types import Bool, Candidates, Catalogue, Float32, Int16, Int32, Int64, Requests, ragged_rows

SITTING_MS = 30 * 60 * 1000  # events of an item further apart than this belong to two sittings


class WatchAgain:
    """Source. Scores: 1 to 2 = to be continued, the later watched the higher; below 1 = 1 - 1 / sittings."""

    name = "watch_again"

    def __init__(
        self,
        config: WatchAgainConfig,
        catalogue: Callable[[], Catalogue],
        watch_types: Sequence[int],
        weight: Float32,
        least: Float32,
    ) -> None:
        """``watch_types``: codes of the events whose value is seconds watched; ``weight``, ``least`` by type code."""
        self._config = config
        self._catalogue = catalogue
        self._weight, self._least = weight, least
        self._is_watch = np.zeros(len(weight), np.bool_)
        self._is_watch[[code for code in watch_types if code < len(weight)]] = True

    def __call__(self, requests: Requests, k: int) -> Candidates:
        history, (batch, _) = requests.acted, requests.acted.item.shape
        liked = preference(history, self._weight, self._least)
        if k == 0 or not liked.any():
            return none(batch)
        offsets, item, score = _again(
            history.item, history.event, history.at, history.value, liked,
            self._is_watch, self._weight, self._catalogue().duration,
            self._config.min_duration, self._config.finished_from, self._config.min_repeats,
        )  # fmt: skip
        return best_of_keys(keys_of(ragged_rows(offsets), item), score, batch, k)


@compiled(
    "Tuple((int64[::1], int32[::1], float32[::1]))(int32[:, :], int16[:, :], int64[:, :], float32[:, :], float32[:, :],"
    " boolean[::1], float32[::1], float32[::1], float64, float64, int64)"
)
def _again(
    item: Int32,
    event: Int16,
    at: Int64,
    value: Float32,
    liked: Float32,
    is_watch: Bool,
    weight: Float32,
    duration: Float32,
    min_duration: float,
    finished_from: float,
    min_repeats: int,
) -> tuple[Int64, Int32, Float32]:
    """What each history ``[B, K]`` leaves to be continued or returned to, ragged: (offsets [B + 1], item, score).

    ``is_watch`` and ``weight`` are by event type code. All watches in the history together fall short of the end of
    an unfinished item; items of unknown duration are not long. An item with an event against it is left out.
    """
    batch, slots = item.shape
    offsets, found = np.zeros(batch + 1, np.int64), np.empty(batch * slots, np.int32)
    score = np.empty(batch * slots, np.float32)
    done = np.empty(slots, np.bool_)
    filled = 0
    for request in range(batch):
        done[:] = False
        for first in range(slots):
            code = item[request, first]
            if done[first] or not (liked[request, first] > 0 and 0 <= code < len(duration)):
                continue
            sittings, last, before = 0, first, np.int64(0)
            seconds, watched = np.float32(0), False
            for slot in range(first, slots):
                if item[request, slot] != code or not liked[request, slot] > 0:
                    continue
                done[slot] = True
                if slot == first or at[request, slot] - before > SITTING_MS:
                    sittings += 1
                last, before = slot, at[request, slot]
                kind = event[request, slot]
                if is_watch[kind] and not np.isnan(value[request, slot]):
                    watched = True
                    seconds += value[request, slot]
            long = duration[code] >= min_duration
            unfinished = watched and long and seconds < np.float32(finished_from) * duration[code]
            if not (unfinished or sittings >= min_repeats):
                continue
            against = False
            for slot in range(slots):
                kind = event[request, slot]
                if item[request, slot] == code and 0 <= kind < len(weight) and weight[kind] < 0:
                    against = True
            if not against:
                found[filled] = code
                score[filled] = 1 + (last + 1) / slots if unfinished else 1 - 1 / sittings
                filled += 1
        offsets[request + 1] = filled
    return offsets, found[:filled], score[:filled]
