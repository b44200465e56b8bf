"""What a server does without being asked, each on a thread of its own: a slow one holds no other up."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable

from upnext.errors import StorageError

_LOG = logging.getLogger("upnext.serving")

GENTLE = 19  # the nice value: such a thread runs where answers leave a core idle
FIRST_S = 1.0  # the first round is at most so long after the start
END_S = 10.0  # a stop waits for a round under way so long at most: an index of millions takes minutes


class Chore:
    """A thread that calls ``work`` again and again from ``start`` to ``stop``, ``every_s`` after it has returned."""

    def __init__(self, name: str, work: Callable[[], object], every_s: float, gentle: bool = False) -> None:
        self._name, self._work, self._every, self._gentle = name, work, every_s, gentle
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(END_S)

    def _run(self) -> None:
        if self._gentle:
            be_gentle()
        pause, unavailable = min(self._every, FIRST_S), False
        while not self._ended.wait(pause):
            try:
                self._work()
                unavailable = False
            except StorageError as error:  # said once, not five times a second
                if not unavailable:
                    _LOG.warning("the chore %r goes on once the storage is back: %s", self._name, error)
                unavailable = True
            except Exception:  # the next round may succeed; answers go on
                _LOG.exception("the chore %r failed", self._name)
            pause = self._every


def be_gentle() -> None:
    """The calling thread, and those that it starts, give way to all others from now on, where the system can do that.

    A thread cannot take it back, and hands it on: nothing that answers may be started by a gentle one.
    """
    if sys.platform == "linux":  # elsewhere a priority belongs to the whole process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), GENTLE)
