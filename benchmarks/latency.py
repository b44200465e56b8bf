"""Latency over HTTP at light load: one client, one request at a time, against the real server as its own process.

python -m benchmarks.latency --home demo --requests 500
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "upnext", "serve", "--home", str(flags.home), "--port", str(port)]
    started = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        connection = wait_for(port, server)
        start = time.perf_counter() - started
        figures = drive(connection, users, flags.n)
    finally:
        server.terminate()
        server.wait()
    found = {"start s": start, **figures}
    for name, value in found.items():
        print(f"{name:<28}{value:10.2f}")
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def wait_for(port: int, server: subprocess.Popen[bytes]) -> http.client.HTTPConnection:
    """A connection to the server once it is ready; ends the program if the server ends."""
    for _ in range(1200):
        if server.poll() is not None:
            raise SystemExit(f"the server ended with status {server.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/v1/health/ready")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                return connection
        except OSError:
            pass
        connection.close()
        time.sleep(0.1)
    raise SystemExit("the server was not ready within two minutes")


def drive(connection: http.client.HTTPConnection, users: list[str], n: int) -> dict[str, float]:
    """Milliseconds a request, and how many candidates were ranked; the first WARM_UP requests do not count."""
    took, inside, ranked, degraded = [], [], [], 0
    for user in users:
        body = json.dumps({"user_id": user, "n": n, "log_impressions": False})
        started = time.perf_counter()
        connection.request("POST", "/v1/recommendations", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        took.append(1000 * (time.perf_counter() - started))
        if answer.status != 200:
            raise SystemExit(f"status {answer.status}: {said}")
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
