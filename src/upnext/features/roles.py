"""What each event type means to the state: shown or acted, how much preference, which counter column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from upnext.compiled import compiled
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
        """What to count, in event order: (event row, column, amount)."""
        tasks = self.tasks.values()
        codes = np.array([self.code(task.event) for task in tasks], np.int64)
        caps = np.array([task.cap if task.kind == "seconds" else np.nan for task in tasks], np.float64)
        # A type marks at most three shared columns and a task each.
        size = len(event) * (len(BASE_COLUMNS) + len(codes))
        row, column, amount = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.float64)
        used = _counts(
            event, value, self.is_impression, self.is_shown, self.weight, self.least, codes, caps, row, column, amount
        )
        return row[:used], column[:used], amount[:used]


@compiled(
    "int64(int16[:], float32[:], boolean[::1], boolean[::1], float32[::1], float32[::1], int64[::1], float64[::1], "
    "int64[::1], int64[::1], float64[::1])"
)
def _counts(
    event: Int16, value: Float32, is_impression: Bool, is_shown: Bool, weight: Float32, least: Float32,
    task_event: Int64, cap: Float64, row: Int64, column: Int64, amount: Float64,
) -> int:  # fmt: skip
    """Fill row, column and amount; how many of them. A task without a cap (NaN) counts ones."""
    used = 0
    for n in range(len(event)):
        code = event[n]
        base = (is_impression[code], is_shown[code], weight[code] > 0 and not value[n] < least[code])
        for place in range(len(base)):
            if base[place]:
                row[used], column[used], amount[used] = n, place, 1.0
                used += 1
        for task in range(len(task_event)):
            if task_event[task] == code:
                seconds = np.float64(value[n])
                bounded = 0.0 if np.isnan(seconds) else min(max(seconds, 0.0), cap[task])
                row[used], column[used] = n, len(base) + task
                amount[used] = 1.0 if np.isnan(cap[task]) else bounded
                used += 1
    return used
