"""What a request's user turned to, read from the history: the input of every source that learns from people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from upnext.compiled import compiled
from upnext.types import NO_ITEM, Bool, Float32, History, Int32, Int64, Requests, ragged_rows


def preference(history: History, weight: Float32, least: Float32) -> Float32:
    """How much each event speaks for its item, ``[B, K]``; 0 for padding, negative and half-hearted events.

    ``weight`` and ``least`` are by event type code; a type that came after they were made counts 0.
    """
    return _preference(history.item, history.event, history.value, weight, least)


@dataclass(frozen=True, slots=True)
class Visits:
    """Items in the order they were turned to, oldest first, ragged over requests.

    Consecutive events of one item (click, watch, like) are one visit, of their summed weight.
    """

    item: Int32  # [M]
    weight: Float32  # [M]
    offsets: Int64  # [B + 1]

    @property
    def request(self) -> Int64:
        """The request index of every visit, ``[M]``."""
        return ragged_rows(self.offsets)

    @property
    def steps_back(self) -> Int64:
        """How many visits of the same request came later, ``[M]``."""
        return self.offsets[1:][self.request] - 1 - np.arange(len(self.item))

    def keep(self, mask: Bool) -> Visits:
        rows = np.flatnonzero(mask)
        return Visits(self.item[rows], self.weight[rows], np.searchsorted(rows, self.offsets))


def visits(requests: Requests, weight: Float32, least: Float32) -> Visits:
    """The positive history of each request; where a request names anchors, they are its history."""
    liked = preference(requests.acted, weight, least)
    return Visits(*_visits(requests.acted.item, liked, requests.anchors.item, requests.anchors.offsets))


def run_starts(group: Int64, item: Int32) -> Int64:
    """Where a run of one item within one group begins; equal neighbours in the same group are one run."""
    if not len(item):
        return np.empty(0, np.int64)
    changed = (item[1:] != item[:-1]) | (group[1:] != group[:-1])
    return np.flatnonzero(np.concatenate([[True], changed]))


def not_to_propose(requests: Requests) -> tuple[Int64, Int32]:
    """Pairs (request, item) that would waste a proposal: the anchors, and, unless allowed, what was acted on.

    In no order; a pair may be there twice.
    """
    request, item = _not_to_propose(
        requests.anchors.item, requests.anchors.offsets, requests.acted.item, requests.allow_watched
    )
    return request, item


@compiled(
    "float32[:, ::1](Array(int32, 2, 'A', readonly=True), Array(int16, 2, 'A', readonly=True),"
    "Array(float32, 2, 'A', readonly=True), Array(float32, 1, 'A', readonly=True),"
    "Array(float32, 1, 'A', readonly=True))"
)
def _preference(item: Any, event: Any, value: Any, weight: Any, least: Any) -> Any:
    """``[B, K]``, of a history's columns ``[B, K]`` and two tables by event type."""
    liked = np.zeros(item.shape, np.float32)
    for request in range(item.shape[0]):
        for slot in range(item.shape[1]):
            kind = event[request, slot]
            if item[request, slot] == NO_ITEM or not 0 <= kind < len(weight) or value[request, slot] < least[kind]:
                continue  # an event without a value (NaN) is not below the least: it is taken at its word
            liked[request, slot] = max(weight[kind], np.float32(0))
    return liked


@compiled(
    "Tuple((int32[::1], float32[::1], int64[::1]))(Array(int32, 2, 'A', readonly=True), float32[:, ::1],"
    "Array(int32, 1, 'A', readonly=True), Array(int64, 1, 'A', readonly=True))"
)
def _visits(acted: Any, liked: Any, anchor: Any, anchor_offsets: Any) -> Any:
    """The columns of ``Visits``, of ``acted`` and ``liked [B, K]`` and the ragged anchors, each of weight 1."""
    batch, size = acted.shape
    item = np.empty(batch * size + len(anchor), np.int32)
    weight = np.empty(len(item), np.float32)
    offsets = np.zeros(batch + 1, np.int64)
    end = 0
    for request in range(batch):
        begin, first, last = end, anchor_offsets[request], anchor_offsets[request + 1]
        named = last > first
        for slot in range(last - first if named else size):
            visited = anchor[first + slot] if named else acted[request, slot]
            counts = np.float32(visited != NO_ITEM) if named else liked[request, slot]
            if counts == 0:
                continue
            if end > begin and item[end - 1] == visited:
                weight[end - 1] += counts
            else:
                item[end], weight[end] = visited, counts
                end += 1
        offsets[request + 1] = end
    return item[:end].copy(), weight[:end].copy(), offsets


@compiled(
    "Tuple((int64[::1], int32[::1]))(Array(int32, 1, 'A', readonly=True), Array(int64, 1, 'A', readonly=True),"
    "Array(int32, 2, 'A', readonly=True), boolean)"
)
def _not_to_propose(anchor: Any, anchor_offsets: Any, acted: Any, allow_watched: bool) -> Any:
    """Requests and items, ``[U]`` each, by request."""
    size = len(anchor) + acted.size
    request, item = np.empty(size, np.int64), np.empty(size, np.int32)
    end = 0
    for row in range(acted.shape[0]):
        for place in range(anchor_offsets[row], anchor_offsets[row + 1]):
            if anchor[place] >= 0:
                request[end], item[end] = row, anchor[place]
                end += 1
        for slot in range(0 if allow_watched else acted.shape[1]):
            if acted[row, slot] >= 0:
                request[end], item[end] = row, acted[row, slot]
                end += 1
    return request[:end].copy(), item[:end].copy()
