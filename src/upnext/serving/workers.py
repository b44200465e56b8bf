"""Several server processes behind one listening socket: started, watched, restarted and ended together.

Each is the same command with the socket handed down; all tail the same log, so what one is told the others know
within a tail's round.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from upnext.errors import UpnextError

_LOG = logging.getLogger("upnext.serving")

QUICK_S = 10.0  # a worker that ends sooner was never well
MAX_QUICK = 3  # such ends in a row, then the rest is ended too
END_S = 15.0  # for requests under way


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    started: float


class Supervisor:
    """``run`` returns when it was told to end. Raises UpnextError when workers cannot stay up."""

    def __init__(self, command: Sequence[str], listener: socket.socket, workers: int, counting: Path) -> None:
        """``command`` finds its number and the descriptors listener, ready, lifeline in ``UPNEXT_WORKER``.

        ``counting`` is the folder in which the workers' metrics add up.
        """
        self._command, self._listener, self._number, self._counting = command, listener, workers, counting
        self._ready_in, self._ready_out = os.pipe()
        self._lifeline_in, self._lifeline_out = os.pipe()  # closed by our end, whatever it is: the workers end too
        self._ended = threading.Event()
        self._workers: dict[int, _Worker] = {}
        self._quick = 0

    def run(self, on_ready: Callable[[], None]) -> None:
        previous = {number: signal.signal(number, self._end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in range(self._number):
                self._start(number)
            threading.Thread(target=self._announce, args=(on_ready,), daemon=True).start()
            while not self._ended.wait(0.2):
                self._watch()
        finally:
            self._stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _start(self, number: int) -> None:
        descriptors = self._listener.fileno(), self._ready_out, self._lifeline_in
        # A session of its own: an interrupt from the terminal reaches the supervisor alone, which passes it on.
        environment = {
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(self._counting),
            "UPNEXT_WORKER": ",".join(map(str, (number, *descriptors))),
        }
        process = subprocess.Popen(self._command, pass_fds=descriptors, start_new_session=True, env=environment)
        self._workers[number] = _Worker(process, time.monotonic())

    def _watch(self) -> None:
        for number, worker in list(self._workers.items()):
            status = worker.process.poll()
            if status is None:
                continue
            mark_process_dead(worker.process.pid, str(self._counting))  # type: ignore[no-untyped-call]
            self._quick = self._quick + 1 if time.monotonic() - worker.started < QUICK_S else 0
            if self._quick >= MAX_QUICK:
                raise UpnextError(f"worker {number} ended with status {status} as soon as it started, again and again")
            _LOG.error("worker %d ended with status %d and is started again", number, status)
            self._start(number)

    def _announce(self, on_ready: Callable[[], None]) -> None:
        told = 0
        while told < self._number:
            told += len(os.read(self._ready_in, self._number))
        on_ready()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ended.set()

    def _stop(self) -> None:
        os.close(self._lifeline_out)
        until = time.monotonic() + END_S
        for worker in self._workers.values():
            try:
                worker.process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()


def end_with_supervisor(lifeline: int) -> None:
    """From now on this process ends in good order when the other end of ``lifeline`` is closed."""

    def wait() -> None:
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
