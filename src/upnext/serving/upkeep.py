"""What a server does beside answering, on a thread of its own: lists, snapshots, the index and how good it is."""

from __future__ import annotations

import logging
import threading

from upnext.serving.engine import Engine

_LOG = logging.getLogger("upnext.serving")

EVERY_S = 1.0
RECALL_EVERY_S = 30.0


class Upkeep:
    """A thread from ``start`` to ``stop``."""

    def __init__(self, engine: Engine, keeper: bool = True, every_s: float = EVERY_S) -> None:
        """Of several processes that serve a home the ``keeper`` saves the state, now and then and when it stops."""
        self._engine, self._keeper, self._every = engine, keeper, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        if self._keeper:
            self._engine.save_state()

    def _run(self) -> None:
        rounds = 0
        while not self._ended.wait(self._every):
            try:
                self._engine.keep_up()
                if self._keeper:
                    self._engine.save_state(self._engine.config.storage.snapshot_events)
                self._engine.rebuild_index()
                if rounds % max(1, int(RECALL_EVERY_S / self._every)) == 0:
                    self._engine.measure_index()
            except Exception:  # the next round may succeed; requests go on
                _LOG.exception("upkeep failed")
            rounds += 1
