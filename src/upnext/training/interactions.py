"""Positive feedback as columns: what the sources are trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from upnext.config import EventType
from upnext.types import Events, Float32, Int32, Int64


@dataclass(frozen=True, slots=True)
class Interactions:
    """One row a positive event, in the order received; user codes < ``users``, item codes < ``items``."""

    user: Int32
    item: Int32
    weight: Float32  # > 0
    at: Int64
    users: int
    items: int

    def __len__(self) -> int:
        return len(self.user)


def event_weights(types: Mapping[str, EventType], names: Sequence[str]) -> tuple[Float32, Float32]:
    """Weight and least value of each event type code; ``names[code]`` is the type's name in the log."""
    unknown = EventType(weight=0.0)
    found = [types.get(name, unknown) for name in names]
    least = [-np.inf if entry.min_value is None else entry.min_value for entry in found]
    return np.array([entry.weight for entry in found], np.float32), np.array(least, np.float32)


def positive_rows(events: Events, weight: Float32, least: Float32) -> Int64:
    """The events that express a preference: weight above 0 and, where the type asks for one, enough value."""
    value = np.nan_to_num(events.value, nan=np.inf)  # an event without a value is taken at its word
    return np.flatnonzero((weight[events.type] > 0) & (value >= least[events.type]) & (events.user >= 0))


def take_interactions(events: Events, rows: Int64, weight: Float32, users: int, items: int) -> Interactions:
    """The given rows of the log as interactions."""
    taken = events.take(rows)
    return Interactions(taken.user, taken.item, weight[taken.type], taken.received_at, users, items)


def positives(events: Events, weight: Float32, least: Float32, users: int, items: int) -> Interactions:
    """All events that express a preference, as interactions."""
    return take_interactions(events, positive_rows(events, weight, least), weight, users, items)
