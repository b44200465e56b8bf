"""What each event type means to the state: shown or acted, how much preference, which counter column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from upnext.config import EventType, TaskConfig
from upnext.types import Bool, Float32, Float64, Int16, Int64

MAX_TYPES = 256

IMPRESSION, EXPOSED, POSITIVE = 0, 1, 2
BASE_COLUMNS = ("impression", "exposed", "positive")


class EventRoles:
    """Arrays by event type code. ``learn`` is called with every name that the log has, old and new."""

    def __init__(self, types: Mapping[str, EventType], tasks: Mapping[str, TaskConfig]) -> None:
        self._types = types
        self.tasks = tasks
        self.names: list[str] = []
        self.weight: Float32 = np.zeros(MAX_TYPES, np.float32)
        self.least: Float32 = np.full(MAX_TYPES, -np.inf, np.float32)
        self.is_impression: Bool = np.zeros(MAX_TYPES, np.bool_)
        self.is_shown: Bool = np.zeros(MAX_TYPES, np.bool_)
        self.columns = (*BASE_COLUMNS, *tasks)

    def learn(self, names: Sequence[str]) -> None:
        """Types that the configuration does not know express no preference."""
        for code in range(len(self.names), min(len(names), MAX_TYPES)):
            name = names[code]
            entry = self._types.get(name, EventType(weight=0.0))
            self.weight[code] = entry.weight
            self.least[code] = -np.inf if entry.min_value is None else entry.min_value
            self.is_impression[code] = name == "impression"
            self.is_shown[code] = name in ("impression", "seen")
            self.names.append(name)

    def code(self, name: str) -> int:
        """-1 while the log has no such event."""
        return self.names.index(name) if name in self.names else -1

    def preference(self, event: Int16, value: Float32) -> Float32:
        """Weight of each event where its value is enough, 0 where not, below 0 against; empty slots (-1) give 0."""
        enough = ~(value < self.least[event])  # no value (NaN) is enough
        return np.where(enough & (event >= 0), self.weight[event], np.float32(0))

    def counts(self, event: Int16, value: Float32) -> tuple[Int64, Int64, Float64]:
        """What to count: (event row, column, amount), in event order within each column."""
        rows, columns, amounts = [], [], []

        def add(mask: Bool, column: int, amount: Float64 | None = None) -> None:
            row = np.flatnonzero(mask)
            rows.append(row)
            columns.append(np.full(len(row), column))
            amounts.append(np.ones(len(row)) if amount is None else amount[row])

        add(self.is_impression[event], IMPRESSION)
        add(self.is_shown[event], EXPOSED)
        add(self.preference(event, value) > 0, POSITIVE)
        for column, task in enumerate(self.tasks.values(), start=len(BASE_COLUMNS)):
            hit = event == self.code(task.event)
            seconds = np.clip(np.nan_to_num(value.astype(np.float64)), 0, task.cap)
            add(hit, column, seconds if task.kind == "seconds" else None)
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(amounts)
