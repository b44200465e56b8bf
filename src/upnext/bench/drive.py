"""The client: a process of its own that asks a server, one request after the other or at a rate, and prints figures.

python -m upnext.bench.drive < question.json      {"port": 8080, "users": ["u1", ...], "requests": 500, "rate": null}
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from upnext.bench.server import Client

CONNECTIONS = 128


@dataclass
class Asked:
    """What came back. Milliseconds are from the moment at which a request was due, whatever kept it."""

    took: list[float] = field(default_factory=list)  # of answers
    refused: list[float] = field(default_factory=list)  # of 503
    failed: list[str] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)  # what the server says that each answer took
    stages: dict[str, list[float]] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)  # candidates that were ranked
    degraded: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def ask(port: int, users: Sequence[str], requests: int, rate: float | None = None, n: int = 10) -> Asked:
    """``requests`` questions from a process of its own; ``rate`` a second, or (None) each when the last is answered."""
    question = {"port": port, "users": list(users), "requests": requests, "rate": rate, "n": n}
    done = subprocess.run(
        [sys.executable, "-m", "upnext.bench.drive"], input=json.dumps(question), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the client ended with status {done.returncode}: {done.stderr[-2000:]}")
    return Asked(**json.loads(done.stdout))


class _Driver:
    def __init__(self, port: int, users: Sequence[str], n: int) -> None:
        self._port, self._users, self._n = port, users, n
        self._own = threading.local()
        self._answers: list[tuple[float, int, bytes]] = []
        self._failed: list[str] = []

    def one(self, number: int, due: float) -> None:
        if not hasattr(self._own, "client"):
            self._own.client = Client(self._port)
        body = {"user_id": self._users[number % len(self._users)], "n": self._n}
        try:
            status, answer = self._own.client.raw("POST", "/v1/recommendations", body)
        except (OSError, http.client.HTTPException) as error:
            self._failed.append(f"{type(error).__name__}: {error}")
            return
        self._answers.append((1000 * (time.perf_counter() - due), status, answer))

    def found(self, seconds: float) -> Asked:
        """Answers are read after the asking: it shall cost the server nothing."""
        asked, degraded = Asked(failed=self._failed, seconds=seconds), Counter[str]()
        for ms, status, answer in self._answers:
            if status == 503:
                asked.refused.append(ms)
            elif status != 200:
                asked.failed.append(f"status {status}: {answer[:200]!r}")
            else:
                try:
                    self._read(json.loads(answer), asked, degraded)
                except (ValueError, LookupError, TypeError, AttributeError) as error:
                    asked.failed.append(f"no answer of upnext ({type(error).__name__}: {error}): {answer[:200]!r}")
                else:
                    asked.took.append(ms)
        asked.degraded = dict(degraded)
        return asked

    def _read(self, said: Any, asked: Asked, degraded: Counter[str]) -> None:
        # All is read before anything is counted: half an answer counts as none.
        took, reasons = float(said["took_ms"]), {reason.partition(":")[0] for reason in said["degraded"]}
        stages = [(f"{stage['stage']}: {stage['name']}", float(stage["ms"])) for stage in said["stages"]]
        ranked = max((int(stage["rows_in"]) for stage in said["stages"] if stage["stage"] == "ranking"), default=0)
        asked.inside.append(took)
        degraded.update(reasons)
        for name, ms in stages:
            asked.stages.setdefault(name, []).append(ms)
        asked.rows.append(ranked)


def main() -> None:
    question = json.load(sys.stdin)
    requests, rate = question["requests"], question["rate"]
    driver = _Driver(question["port"], question["users"], question["n"])
    started = time.perf_counter()
    if rate is None:
        for number in range(requests):
            driver.one(number, time.perf_counter())
    else:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for number in range(requests):
                due = started + number / rate
                time.sleep(max(due - time.perf_counter(), 0))
                pool.submit(driver.one, number, due)
    json.dump(asdict(driver.found(time.perf_counter() - started)), sys.stdout)


if __name__ == "__main__":
    main()
