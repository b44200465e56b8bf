"""What a request's user turned to, read from the history: the input of every source that learns from people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.types import NO_ITEM, Bool, Float32, History, Int32, Int64, Requests, ragged_rows


def preference(history: History, weight: Float32, least: Float32) -> Float32:
    """How much each event speaks for its item, ``[B, K]``; 0 for padding, negative and half-hearted events.

    ``weight`` and ``least`` are by event type code; a type that came after they were made counts 0.
    """
    if not len(weight):
        return np.zeros(history.item.shape, np.float32)
    counts = (history.item != NO_ITEM) & (history.event >= 0) & (history.event < len(weight))
    event = np.where(counts, history.event, 0)
    counts &= ~(history.value < least[event])  # an event without a value (NaN) is taken at its word
    return np.where(counts, np.maximum(weight, 0)[event], np.float32(0)).astype(np.float32, copy=False)


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

    def summed(self) -> Visits:
        """One row an item of each request, by item code, with the weights of its visits summed."""
        request = self.request
        order = np.lexsort((self.item, request))
        return _runs(request[order], self.item[order], self.weight[order], len(self.offsets) - 1)

    def padded(self, requests: Int64) -> tuple[Int32, Float32]:
        """Items and weights of some requests as left-aligned matrices ``[b, m]``, padded with -1 and 0."""
        start, size = self.offsets[requests], self.offsets[requests + 1] - self.offsets[requests]
        slot = np.arange(size.max(initial=0))
        filled = slot < size[:, None]
        row = np.where(filled, start[:, None] + slot, 0)
        return np.where(filled, self.item[row], NO_ITEM), np.where(filled, self.weight[row], np.float32(0))


def visits(requests: Requests, weight: Float32, least: Float32) -> Visits:
    """The positive history of each request; where a request names anchors, they are its history."""
    liked = preference(requests.acted, weight, least)
    anchors = requests.anchors
    liked[np.diff(anchors.offsets) > 0] = 0
    request, slot = np.nonzero(liked)
    item, value = requests.acted.item[request, slot], liked[request, slot]
    if len(anchors.item):
        known = anchors.item != NO_ITEM
        request = np.concatenate([request, ragged_rows(anchors.offsets)[known]])
        item = np.concatenate([item, anchors.item[known]])
        value = np.concatenate([value, np.ones(np.count_nonzero(known), np.float32)])
        order = np.argsort(request, kind="stable")
        request, item, value = request[order], item[order], value[order]
    return _runs(request, item, value, len(requests))


def _runs(request: Int64, item: Int32, weight: Float32, batch: int) -> Visits:
    """Rows ordered by request, where equal items that follow each other become one row."""
    first = run_starts(request, item)
    summed = np.add.reduceat(weight, first) if len(first) else weight
    offsets = np.searchsorted(request[first], np.arange(batch + 1)).astype(np.int64)
    return Visits(item[first].astype(np.int32), summed.astype(np.float32), offsets)


def run_starts(group: Int64, item: Int32) -> Int64:
    """Where a run of one item within one group begins; equal neighbours in the same group are one run."""
    if not len(item):
        return np.empty(0, np.int64)
    changed = (item[1:] != item[:-1]) | (group[1:] != group[:-1])
    return np.flatnonzero(np.concatenate([[True], changed]))


def not_to_propose(requests: Requests) -> tuple[Int64, Int32]:
    """Pairs (request, item) that would waste a proposal: the anchors, and, unless allowed, what was acted on."""
    request, item = ragged_rows(requests.anchors.offsets), requests.anchors.item
    if not requests.allow_watched:
        acted, slot = np.nonzero(requests.acted.item != NO_ITEM)
        request = np.concatenate([request, acted])
        item = np.concatenate([item, requests.acted.item[acted, slot]])
    return request[item >= 0], item[item >= 0]
