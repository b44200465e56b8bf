"""The project's own commands as processes of their own, and what each took: a benchmark has no way of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from upnext.errors import HomeError


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds by the clock and of CPU, and the most memory that was resident at once."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def run_command(arguments: Sequence[str]) -> Took:
    """``upnext`` with these arguments, on this terminal. Raises HomeError when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "upnext", *arguments])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise HomeError(f"`upnext {' '.join(arguments)}` ended with status {process.returncode}; see above")
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024  # of ru_maxrss, a MB
    return Took(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / unit)
