"""What was shown goes back into the log as impressions, in order, on a thread of its own: no answer waits for it."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upnext.errors import StorageUnavailable
from upnext.storage.frames import MAX_POSITION

_LOG = logging.getLogger("upnext.serving")

MAX_WAITING = 10_000  # answers; more are dropped, and counted
AT_ONCE = 200  # answers a write
RETRY_S = 0.5  # while the storage is away


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer, as it was shown to a user."""

    recommendation_id: str
    user_id: str
    surface: str
    now: int
    as_of: int
    model_version: str | None
    context: Mapping[str, Any]
    positions: Sequence[int]
    items: Sequence[str]
    sources: Sequence[Sequence[str]]
    propensity: Sequence[float]

    def columns(self) -> dict[str, list[object]]:
        """The impressions as columns of EVENT_SCHEMA."""
        count = len(self.items)
        positions = [min(position, MAX_POSITION) for position in self.positions]
        shared = {"model_version": self.model_version} | ({"request": dict(self.context)} if self.context else {})
        rows = zip(self.sources, self.propensity, strict=True)
        context = [{**shared, "source": list(source), "propensity": propensity} for source, propensity in rows]
        return {
            "event_id": [f"{self.recommendation_id}#{place}" for place in range(count)],
            "event_type": ["impression"] * count,
            "user_id": [self.user_id] * count,
            "item_id": list(self.items),
            "happened_at": [self.now] * count,
            "recommendation_id": [self.recommendation_id] * count,
            "position": list(positions),
            "surface": [self.surface] * count,
            "as_of": [self.as_of] * count,
            "context": [json.dumps(entry, ensure_ascii=False) for entry in context],
        }


class Impressions:
    """``put`` returns at once; ``close`` writes what is still waiting."""

    def __init__(self, append: Callable[[Mapping[str, Sequence[object]]], object]) -> None:
        self.dropped = 0
        self._append = append
        self._waiting: queue.Queue[Shown | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._unwritten: Counter[str] = Counter()  # answers a user
        self._written = threading.Condition()
        self._closing = threading.Event()

    def put(self, shown: Shown) -> None:
        if not shown.items:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="impressions", daemon=True)
                self._thread.start()
        with self._written:
            self._unwritten[shown.user_id] += 1
        try:
            self._waiting.put_nowait(shown)
        except queue.Full:
            self.dropped += 1
            self._done([shown])

    def settle(self, user_id: str, seconds: float) -> None:
        """Wait, but no longer than this, until the views know what this user was shown so far."""
        if user_id in self._unwritten:  # seldom: whoever asks again within milliseconds
            with self._written:
                self._written.wait_for(lambda: user_id not in self._unwritten, seconds)

    def flush(self) -> None:
        """Wait until everything put so far is in the log."""
        self._waiting.join()

    def close(self) -> None:
        if self._thread is not None:
            self._closing.set()
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        more = True
        while more:
            batch = [self._waiting.get()]
            while len(batch) < AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get())
            more = None not in batch
            self._write([shown for shown in batch if shown is not None])
            for _ in batch:
                self._waiting.task_done()

    def _write(self, batch: list[Shown]) -> None:
        if not batch:
            return
        columns: dict[str, list[object]] = {}
        for shown in batch:
            for name, values in shown.columns().items():
                columns.setdefault(name, []).extend(values)
        try:
            while not self._written_now(columns):
                pass
        except Exception:  # nobody waits for it: say so, and go on with the next
            self.dropped += len(batch)
            _LOG.exception("the impressions of %d answers could not be written", len(batch))
        finally:
            self._done(batch)

    def _written_now(self, columns: Mapping[str, Sequence[object]]) -> bool:
        """False where the storage is away: they are kept until it is back, and ids of their own keep them single."""
        try:
            self._append(columns)
        except StorageUnavailable:
            if self._closing.is_set():
                raise
            self._closing.wait(RETRY_S)
            return False
        return True

    def _done(self, batch: Sequence[Shown]) -> None:
        with self._written:
            self._unwritten.subtract(shown.user_id for shown in batch)
            self._unwritten = +self._unwritten  # without those at 0
            self._written.notify_all()
