"""A clock that runs with the visitors: how much of a day's impressions has passed, not how much of its hours.

Plans that count impressions follow it. By the hours, whatever is planned falls behind every night, and is then pressed
upon the few who are awake.
"""

from __future__ import annotations

import numpy as np

from upnext.types import Float64, Int64

BIN_MS = 900_000
ENOUGH_MS = 3_600_000  # of record, before it says more than the hours do


class Traffic:
    """Impressions by the quarter of an hour over the last ``span`` (ms), and as much again for what opened then.

    A pause longer than the span starts it anew. Not thread-safe: who owns it locks.
    """

    def __init__(self, span: int) -> None:
        self._span = span
        self._kept = 2 * (span // BIN_MS + 1)  # bins
        self._first = 0  # the bin that the record starts with
        self._sums: Float64 = np.zeros(1)  # [bins + 1], impressions before each bin, and before the one after the last
        self._began = self._latest = 0  # ms, the first and the last impression of the record

    def add(self, at: Int64) -> None:
        """Impressions in the order received."""
        if not len(at):
            return
        pauses = np.flatnonzero(np.diff(at, prepend=self._latest) > self._span)
        if len(pauses):  # yesterday says nothing of today then (at first there was none): the record starts anew
            at = at[pauses[-1] :]
            self._sums, self._began = np.zeros(1), int(at[0])
            self._first = self._began // BIN_MS
        bins = at // BIN_MS
        fresh = int(bins.max()) - self._first + 1 - (len(self._sums) - 1)
        counts = np.concatenate([np.diff(self._sums), np.zeros(max(fresh, 0))])
        inside = bins >= self._first
        np.add.at(counts, bins[inside] - self._first, 1.0)
        gone = max(len(counts) - self._kept, 0)
        if gone:
            self._first += gone
            self._began = max(self._began, self._first * BIN_MS)
        self._sums = np.concatenate([np.zeros(1), np.cumsum(counts[gone:])])
        self._latest = max(self._latest, int(at.max()))

    def age(self, opened: Int64, now: Int64) -> Float64:
        """How much of its impressions' time each has behind it that ``opened [N]`` at most ``span`` before ``now [N]``.

        What came since, as a part of that and of what is still to come: as much as came in the same hours one span
        ago. 0 = just opened, 1 = its time is over. With little record: by the hours.
        """
        by_hours = (now - opened) / self._span
        if self._latest - self._began < ENOUGH_MS:
            return by_hours
        # So much of a bin under way has passed by the clock; its impressions are those until now.
        here = self._until(np.minimum(now, self._latest))
        since = here - self._until(opened)
        ahead = self._until(opened) - self._until(now - self._span)
        known = since + ahead > 0
        return np.where(known, np.clip(since, 0, None) / np.where(known, since + ahead, 1), by_hours)

    def _until(self, at: Int64) -> Float64:
        """Impressions before each moment, spread evenly over their quarters; before the record, at its mean rate."""
        edges = (self._first + np.arange(len(self._sums), dtype=np.float64)) * BIN_MS
        edges[0], edges[-1] = self._began, max(self._latest, self._began + 1)
        rate = self._sums[-1] / (edges[-1] - edges[0])
        return np.interp(at, edges, self._sums) + np.minimum(at - edges[0], 0) * rate
