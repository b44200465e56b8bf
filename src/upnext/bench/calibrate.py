"""How fast this machine is against the one on which the constants of ``upnext plan`` were measured: half a second."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SECONDS = 0.25  # for each of the two
SIZE = (
    64  # of the matrices: so small, a product stays on one core, and another process on the other does not hold it up
)
PRODUCTS, LOOP = 200, 20_000
REFERENCE_CORES, MOST_CORES = 2, 4  # small steps gain little from more; with more than two nothing was measured

# On a core of costs.REFERENCE, when nothing else ran on it.
REFERENCE_MATRIX = 140e9  # multiplications and additions a second, single precision
REFERENCE_LOOPS = 9.46e6  # turns of the loop a second


@dataclass(frozen=True, slots=True)
class Speed:
    """Of this machine, against REFERENCE = 1."""

    matrix: float = 1.0  # products of matrices: training the networks, building the index
    loops: float = 1.0  # plain Python: everything else
    measured: bool = False


def calibrate() -> Speed:
    """The best of what a quarter of a second shows, so that a moment in which others ran does not count."""
    a, b = (np.random.default_rng(seed).random((SIZE, SIZE), np.float32) for seed in (0, 1))
    out = np.empty_like(a)

    def products() -> None:
        for _ in range(PRODUCTS):
            np.matmul(a, b, out=out)

    core = PRODUCTS * 2 * SIZE**3 / _fastest(products) / REFERENCE_MATRIX
    cores = min(os.cpu_count() or 1, MOST_CORES) / REFERENCE_CORES
    return Speed(core * cores, LOOP / _fastest(_loop) / REFERENCE_LOOPS, measured=True)


def _fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of many runs."""
    run()  # threads start, caches fill
    best, until = float("inf"), time.perf_counter() + SECONDS
    while (started := time.perf_counter()) < until:
        run()
        best = min(best, time.perf_counter() - started)
    return best


def _loop() -> int:
    known: dict[int, int] = {}
    for number in range(LOOP):
        known[number & 1023] = known.get(number & 511, 0) + number
    return len(known)
