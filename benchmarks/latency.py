"""Latency over HTTP at light load: one client, one request at a time, against the real server as its own process.

python -m benchmarks.latency --home demo --requests 500
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from upnext.bench.server import Client, serving
from upnext.home import Home

WARM_UP = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("demo"))
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("-n", type=int, default=10, help="items a request")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    flags = parser.parse_args()
    log = Home.open(flags.home).log()
    users = np.random.default_rng(0).choice(log.ids("user"), WARM_UP + flags.requests).tolist()
    log.close()
    with serving(flags.home) as server:
        figures = drive(server.client(), users, flags.n)
    found = {"start s": server.start_s, **figures}
    for name, value in found.items():
        print(f"{name:<28}{value:10.2f}")
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def drive(client: Client, users: list[str], n: int) -> dict[str, float]:
    """Milliseconds a request, and how many candidates were ranked; the first WARM_UP requests do not count."""
    took, inside, ranked, degraded = [], [], [], 0
    for user in users:
        started = time.perf_counter()
        status, said = client("POST", "/v1/recommendations", {"user_id": user, "n": n, "log_impressions": False})
        took.append(1000 * (time.perf_counter() - started))
        if status != 200:
            raise SystemExit(f"status {status}: {said}")
        inside.append(said["took_ms"])
        ranked.append(max((stage["rows_in"] for stage in said["stages"] if stage["stage"] == "ranking"), default=0))
        degraded += bool(said["degraded"])
    counted = np.array(took[WARM_UP:])
    return {
        "p50 ms": float(np.percentile(counted, 50)),
        "p95 ms": float(np.percentile(counted, 95)),
        "p99 ms": float(np.percentile(counted, 99)),
        "inside the server p50 ms": float(np.percentile(inside[WARM_UP:], 50)),
        "candidates ranked, median": float(np.median(ranked[WARM_UP:])),
        "degraded answers": float(degraded),
    }


if __name__ == "__main__":
    main()
