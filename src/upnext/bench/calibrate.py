"""How fast this machine is against the one on which the constants of ``upnext plan`` were measured: half a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SECONDS = 0.25  # for each of the two
SIZE = 768  # of the matrices
LOOP = 20_000

# On costs.REFERENCE, when nothing else ran on it.
REFERENCE_MATRIX = 344e9  # multiplications and additions a second, single precision, all cores
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
    products = 2 * SIZE**3 / _fastest(lambda: np.matmul(a, b, out=out))
    return Speed(products / REFERENCE_MATRIX, LOOP / _fastest(_loop) / REFERENCE_LOOPS, measured=True)


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
