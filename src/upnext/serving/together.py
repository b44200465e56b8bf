"""Appends that wait at the same moment are written as one: one transaction, one sync, one look at the log's news."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from upnext.errors import DataError
from upnext.storage.log import Appended, EventColumns
from upnext.types import Int8

MOST_ROWS = 5_000  # of one write, unless a single append has more: the first of them waits for the last


@dataclass(slots=True)
class _Waiting:
    columns: EventColumns
    rows: int
    status: Int8 | None = None
    error: BaseException | None = None

    @property
    def finished(self) -> bool:
        return self.status is not None or self.error is not None


class Together:
    """Whoever finds nobody writing writes for all that wait by then; nobody waits for company that is not there.

    Rows keep the order in which they were handed in, and each caller learns the fate of its own. One that breaks a
    rule does not take the others with it.
    """

    def __init__(self, write: Callable[[EventColumns], Appended]) -> None:
        self._write = write
        self._waiting: deque[_Waiting] = deque()
        self._turn = threading.Lock()

    def __call__(self, columns: EventColumns) -> Appended:
        """Returns when these rows are written. Raises what ``write`` raises for them."""
        mine = _Waiting(columns, max((len(column) for column in columns.values()), default=0))
        self._waiting.append(mine)
        while not mine.finished:
            with self._turn:
                if not mine.finished:
                    self._write_all(self._next())
        if mine.error is not None:
            raise mine.error
        assert mine.status is not None
        return Appended(mine.status)

    def _next(self) -> list[_Waiting]:
        """Those that have waited longest; only who has the turn may ask."""
        group = [self._waiting.popleft()]
        rows = group[0].rows
        while self._waiting and rows + self._waiting[0].rows <= MOST_ROWS:
            group.append(self._waiting.popleft())
            rows += group[-1].rows
        return group

    def _write_all(self, group: Sequence[_Waiting]) -> None:
        try:
            status = self._write(joined([waiting.columns for waiting in group])).status
        except DataError as error:  # of one of them: find out whose
            if len(group) == 1:
                group[0].error = error
            else:
                for waiting in group:
                    self._write_all([waiting])
        except BaseException as error:  # none was written
            for waiting in group:
                waiting.error = error
        else:
            end = 0
            for waiting in group:
                start, end = end, end + waiting.rows
                waiting.status = status[start:end]


def joined(parts: Sequence[EventColumns]) -> EventColumns:
    """All rows, part after part; None where a part lacks a column of another."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: [value for part in parts for value in _column(part, name)] for name in names}


def _column(part: EventColumns, name: str) -> Iterable[object]:
    return part[name] if name in part else [None] * len(next(iter(part.values())))
