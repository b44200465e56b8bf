"""Worker processes that share one list of parts: each takes the next part when it has done one."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress

from upnext.errors import UpnextError

# One thread a process: as many processes as cores share nothing, and wait for nobody.
SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")


def work_through(parts: Sequence[int], command: Sequence[str], processes: int) -> Generator[int, None, None]:
    """Have ``processes`` runs of ``command`` (batch/worker.py) do all parts; yields each as it is done.

    Raises UpnextError when a worker cannot go on. However it ends, no worker is left.
    """
    todo = deque(parts)
    told: queue.Queue[int | Exception | None] = queue.Queue()
    workers = [_Worker(command) for _ in range(min(processes, len(parts)))]

    def drive(worker: _Worker) -> None:
        try:
            while todo:
                told.put(worker.do(todo.popleft()))
        except IndexError:  # another worker took the last one
            pass
        except Exception as error:  # it is raised where all of them are waited for
            told.put(error)
        finally:
            told.put(None)

    try:
        for worker in workers:
            threading.Thread(target=drive, args=(worker,), daemon=True).start()
        running = len(workers)
        while running:
            match told.get():
                case None:
                    running -= 1
                case int() as part:
                    yield part
                case error:
                    raise error
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """One process. It ends by itself when this one does, whatever ends this one: its input ends then."""

    def __init__(self, command: Sequence[str]) -> None:
        # A session of its own: an interrupt from the terminal reaches the parent alone.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env={**os.environ, **SINGLE},
        )

    def do(self, part: int) -> int:
        line = ""
        if self._process.stdin is not None and self._process.stdout is not None:
            with suppress(BrokenPipeError):  # it has ended; what it said is still to be read
                print(part, file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        if not line:
            raise UpnextError(_ended(self._process.wait()))
        said = json.loads(line)
        if "error" in said:
            raise UpnextError(said["error"])
        return int(said["part"])

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):  # a number that was never read
                if stream is not None:
                    stream.close()


def _ended(status: int) -> str:
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    memory = " (too little memory? fewer --processes need less)" if status == -9 else ""
    return f"a worker {how}{memory}. What was done is kept: the same command goes on from there"
