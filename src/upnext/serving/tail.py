"""What happens without being asked: other processes' writes, closed ticks and new model versions are taken up."""

from __future__ import annotations

import logging
import threading

from upnext.serving.engine import Engine

_LOG = logging.getLogger("upnext.serving")

EVERY_S = 0.2


class Tail:
    """A thread from ``start`` to ``stop``."""

    def __init__(self, engine: Engine, every_s: float = EVERY_S) -> None:
        self._engine, self._every = engine, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self._engine.refresh()
                self._engine.live.state.advance(self._engine.clock.now())
                self._engine.reload()
            except Exception:  # the next round may succeed; requests go on with what is known
                _LOG.exception("the log's news could not be read")
