"""Whether the server without Ray is as quick as it was: this checkout and an earlier one, in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.distributed.nodes import copied
from upnext.bench.server import Client

Figures = Iterator[tuple[str, float]]


def measure(home: Path, work: Path, earlier: Path, rounds: int, requests: int) -> Figures:
    """``earlier`` is a checkout of the commit to compare with."""
    ways = {"before": earlier / "src", "now": Path(__file__).parents[2] / "src"}
    start: dict[str, list[float]] = {name: [] for name in ways}
    p50: dict[str, list[float]] = {name: [] for name in ways}
    p99: dict[str, list[float]] = {name: [] for name in ways}
    homes = {name: copied(home, work / name).directory for name in ways}
    for number in range(rounds + 1):
        for name, source in ways.items():
            began, ms = _served(source, homes[name], 9300 + number, requests)
            if number:  # the first makes what later starts find ready
                start[name].append(began)
                p50[name].append(ms[len(ms) // 2])
                p99[name].append(ms[int(0.99 * len(ms))])
    for what, found in (("seconds until ready", start), ("ms an answer, p50", p50), ("ms an answer, p99", p99)):
        before, now = (statistics.median(found[name]) for name in ways)
        yield f"one process, {what}: before", before
        yield f"one process, {what}: now", now
        yield f"one process, {what}: now / before", now / before


def _served(source: Path, home: Path, port: int, requests: int) -> tuple[float, list[float]]:
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, "-m", "upnext", "serve", "--home", str(home), "--port", str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                with Client(port, timeout=5) as client:
                    if client.raw("GET", "/v1/health/ready")[0] == 200:
                        break
            except OSError:
                pass
            time.sleep(0.01)
        began, ms = time.perf_counter() - started, []
        with Client(port) as client:
            for number in range(requests + 50):
                asked = time.perf_counter()
                body = {"user_id": f"u{number % 500}", "n": 10, "log_impressions": False}
                json.loads(client.raw("POST", "/v1/recommendations", body)[1])
                if number >= 50:
                    ms.append(1000 * (time.perf_counter() - asked))
        return began, sorted(ms)
    finally:
        process.terminate()
        process.wait()
