"""One process, PostgreSQL, and Ray with shards: the same answers; and what clients notice when something is killed."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.distributed.nodes import copied, kill, seconds_until, three_nodes
from upnext.bench.server import Client, ServerProcess
from upnext.home import Home
from upnext.serving.engine import Engine
from upnext.testing.postgres_server import Server
from upnext.testing.processes import processes

REPLICAS, SHARDS = 2, 3
ASKED = {"n": 10, "explore": 0.0, "log_impressions": False}
TRIES = 10
LONG_AGO = 1_650_000_000_000
ALL_KNOW = 12  # answers in a row, on connections of their own: by then every replica was asked
Figures = Iterator[tuple[str, float]]


def measure(home: Path, work: Path, requests: int, seconds: float) -> Figures:
    """On copies of ``home`` in ``work``."""
    postgres = Server()
    try:
        url = f"postgresql://{postgres.rest('distributed')}"
        alone = copied(home, work / "alone")
        source = f"sqlite:///{(home / 'var' / 'log.db').resolve()}"
        subprocess.run(
            [sys.executable, "-m", "upnext", "migrate", "--home", str(home), source, url],
            check=True, stdout=sys.stderr,
        )  # fmt: skip
        shared = copied(home, work / "shared", url)
        with three_nodes() as address:
            words = "--ray", address, "--replicas", str(REPLICAS), "--shards", str(SHARDS)
            server = ServerProcess(shared.directory, words=words)
            try:
                yield "upnext serve --ray: seconds until it is ready", server.start_s
                yield from _same(alone, shared, server, requests)
                yield from _news(server)
                yield from _killed(shared, server, seconds)
            finally:
                server.end()
    finally:
        postgres.close()


def _same(alone: Home, shared: Home, server: ServerProcess, requests: int) -> Figures:
    same = {"PostgreSQL": 0, f"Ray, {SHARDS} shards": 0}
    took: dict[str, list[float]] = {"one process": [], **{name: [] for name in same}}
    with Engine(alone) as engine, Engine(shared) as other, server.client() as client:
        users = engine.live.users.ids.names
        users = [users[place * len(users) // requests] for place in range(requests)]

        def on_ray(user: str) -> Any:
            status, answer = client("POST", "/v1/recommendations", {"user_id": user, **ASKED})
            assert status == 200, answer
            return answer

        ways: dict[str, Callable[[str], Any]] = {
            "one process": lambda user: engine.recommend(user_id=user, **ASKED),
            "PostgreSQL": lambda user: other.recommend(user_id=user, **ASKED),
            f"Ray, {SHARDS} shards": on_ray,
        }
        degraded = 0
        for user in users:
            found = {}
            for name, ask in ways.items():
                started = time.perf_counter()
                answer = ask(user)
                took[name].append(1000 * (time.perf_counter() - started))
                degraded += bool(answer["degraded"])
                found[name] = [row["item_id"] for row in answer["items"]]
            for name in same:
                same[name] += found[name] == found["one process"]
    for name, number in same.items():
        yield f"same top 10 as one process, % of {requests:,}: {name}", 100 * number / requests
    for name, ms in took.items():
        ms.sort()
        yield f"ms an answer, p50: {name}", ms[len(ms) // 2]
        yield f"ms an answer, p99: {name}", ms[int(0.99 * len(ms))]
    yield "degraded answers among them", degraded


def _news(server: ServerProcess, times: int = 20) -> Figures:
    """From an event's acknowledgement until every replica's answers count it."""
    found = []
    for number in range(times):
        user = f"news-{number}"
        with Client(server.port) as client:
            assert client("POST", "/v1/events", [{"event_type": "click", "user_id": user, "item_id": "i1"}])[0] == 200
        started = last = time.perf_counter()
        row = 0
        while row < ALL_KNOW and time.perf_counter() - started < 10:
            with Client(server.port) as client:
                answer = client("POST", "/v1/recommendations", {"user_id": user, **ASKED})[1]
            knows = answer["basis"] == "history of 1 event"
            row = row + 1 if knows else 0
            last = last if knows else time.perf_counter()
        found.append(last - started)
    yield "ms from an event to the last answer that does not count it, p50", 1000 * statistics.median(found)
    yield "the same, most", 1000 * max(found)


@dataclass
class _Load:
    """Clients that ask and tell until they are stopped. What is refused with 503, they try again; nothing else."""

    port: int
    asked: int = 0
    told: list[int] = field(default_factory=list)  # when the events happened that were acknowledged: no two at once
    refused: int = 0
    failed: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def ask(self, users: list[str], pause: float) -> None:
        for number in range(1_000_000):
            if self.ended.is_set():
                return
            self._one("/v1/recommendations", {"user_id": users[number % len(users)], **ASKED})
            time.sleep(pause)

    def tell(self, first: int, users: list[str], pause: float) -> None:
        for number in range(first, first + 1_000_000):
            if self.ended.is_set():
                return
            event = {"event_type": "click", "user_id": users[number % len(users)], "item_id": f"i{number % 100}"}
            if self._one("/v1/events", [{**event, "timestamp": LONG_AGO + number}]):
                self.told.append(LONG_AGO + number)
            time.sleep(pause)

    def _one(self, path: str, body: Any) -> bool:
        self.asked += 1
        for _ in range(TRIES):
            try:
                with Client(self.port, timeout=30) as client:
                    status, answer = client.raw("POST", path, body)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(type(error).__name__)
                return False
            if status != 503:
                break
            self.refused += 1
            time.sleep(0.2)
        if status != 200:
            self.failed.append(f"{status} {answer[:80]!r}")
        return status == 200


def _killed(shared: Home, server: ServerProcess, seconds: float) -> Figures:
    load, users = _Load(server.port), [f"u{number}" for number in range(200)]
    threads = [threading.Thread(target=load.ask, args=(users, 0.05)) for _ in range(2)]
    threads += [threading.Thread(target=load.tell, args=(1_000_000 * n, users, 0.1)) for n in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 4)
    before = len(load.failed)
    lost = kill("ray::ServeReplica")
    back = seconds_until(lambda: len([p for p in processes("ray::ServeReplica") if p != lost]) == REPLICAS)
    time.sleep(seconds / 4)
    yield "a replica is killed: seconds until there are as many again", back
    yield "  requests that failed", len(load.failed) - before
    before = len(load.failed)
    kill("ray::Shard")
    whole = 0

    def complete() -> bool:
        nonlocal whole
        with Client(server.port) as client:
            status, answer = client("POST", "/v1/recommendations", {"user_id": "u1", **ASKED})
        whole = whole + 1 if status == 200 and not answer["degraded"] else 0
        return whole >= ALL_KNOW

    time.sleep(0.2)
    yield "a shard is killed: seconds until no answer misses it", seconds_until(complete)
    time.sleep(seconds / 4)
    yield "  requests that failed", len(load.failed) - before
    load.ended.set()
    for thread in threads:
        thread.join()
    yield "requests under this load", load.asked
    yield "refused for a while (503), and sent again", load.refused
    yield "failed", len(load.failed)
    yield "failed, % of them", 100 * len(load.failed) / load.asked
    log = shared.log()
    kept = log.read_events().happened_at.tolist()
    log.close()
    yield "events acknowledged", len(load.told)
    yield "acknowledged and not in the log", len(set(load.told) - set(kept))
    yield "there twice", sum(count > 1 for at, count in Counter(kept).items() if at in set(load.told))
    for why in sorted(set(load.failed)):
        print(f"failed {load.failed.count(why)} times: {why}", file=sys.stderr)
