"""The project's own commands as processes of their own, and what each took: a benchmark has no way of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from upnext.errors import HomeError

# A new process's peak begins at what its parent has resident at that moment: a benchmark, which has numpy and more
# loaded, would find its own weight in every command. A small process in between, which loads nothing, starts it.
_BETWEEN = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
figures = [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss]
os.write(int(sys.argv[1]), json.dumps(figures).encode())
"""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds by the clock and of CPU, and the most memory that was resident at once."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def run_command(arguments: Sequence[str]) -> Took:
    """``upnext`` with these arguments, on this terminal. Raises HomeError when it fails."""
    started = time.perf_counter()
    told, tell = os.pipe()
    command = [sys.executable, "-m", "upnext", *arguments]
    subprocess.run([sys.executable, "-S", "-c", _BETWEEN, str(tell), *command], pass_fds=[tell], check=False)
    os.close(tell)
    with os.fdopen(told) as answer:
        status, cpu_seconds, peak = json.loads(answer.read() or "[-1, 0, 0]")
    if status:
        raise HomeError(f"`upnext {' '.join(arguments)}` ended with status {status}; see above")
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024  # of ru_maxrss, a MB
    return Took(time.perf_counter() - started, cpu_seconds, peak / unit)
