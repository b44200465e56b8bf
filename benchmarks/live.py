"""How live is it? Events, items, rebuilds, model swaps and restarts against the real server, on a copy of a home.

python -m benchmarks.live --home demo --json live.json
python -m benchmarks.live --home demo --only events ingest
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.load import load, percentile, users_of
from upnext.bench.server import Client, ServerProcess, serving
from upnext.home import Home

LIMIT = 300  # items beside the index before it is built anew, here: so that it happens within the benchmark
SETTINGS = (f"candidates.two_tower.dynamic_limit={LIMIT}",)
MILLION = 1_000_000
PARTS = ("events", "ingest", "items", "changes", "workers", "restart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("demo"))
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--answers", type=float, default=50.0, help="a second, while items come and go")
    parser.add_argument("--events", type=int, default=MILLION, help="in the log at the restart")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure these parts; default: all")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    flags = parser.parse_args()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=flags.home.parent) as folder:
        home = Path(folder) / "home"
        shutil.copytree(flags.home, home, ignore=shutil.ignore_patterns("world"))
        os.sync()  # or the first durable writes would wait for the copy
        users = users_of(home)
        parts = _events, _ingest, partial(_items, rate=flags.answers), _changes
        for name, part in zip(PARTS, parts, strict=False):
            if name in flags.only:
                with serving(home, SETTINGS) as server:
                    _warm_up(server, users)
                    _report(part(server, home, users, flags.seconds), found)
        if "workers" in flags.only:
            _report(_workers(home, users), found)
        if "restart" in flags.only:
            _report(_restart(home, flags.events), found)
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _warm_up(server: ServerProcess, users: list[str]) -> None:
    """The first answers read the pages of mapped files: of a large catalogue, from the disk."""
    with server.client() as client:
        for user in users[-100:]:
            _recommend(client, user)


def _report(part: dict[str, float], found: dict[str, float]) -> None:
    for name, value in part.items():
        print(f"{name:<58}{value:12.2f}", flush=True)
    found.update(part)


def _ids(answer: Any) -> list[str]:
    return [row["item_id"] for row in answer["items"]]


def _recommend(client: Client, user: str) -> Any:
    status, answer = client("POST", "/v1/recommendations", {"user_id": user, "n": 10, "log_impressions": False})
    if status != 200:
        raise SystemExit(f"status {status}: {answer}")
    return answer


def _events(server: ServerProcess, home: Path, users: list[str], seconds: float) -> dict[str, float]:
    """A click is sent, and the next answer for its user must not hold the item any more."""

    def click(client: Client, number: int) -> None:
        event = {"event_type": "click", "user_id": users[-1 - number % 1000], "item_id": f"live-{number % 50}"}
        client("POST", "/v1/events", {**event, "event_id": f"load-{time.time_ns()}-{number}"})

    took, missed, client = [], 0, Client(server.port)
    with load(server.port, 50, click) as background:
        until, number = time.perf_counter() + seconds, 0
        while time.perf_counter() < until:
            user = users[number % 1000]
            shown = _recommend(client, user)["items"]
            # What is offered to be watched again may come again after a click.
            item = next(row["item_id"] for row in shown if "watch_again" not in row["source"])
            started = time.perf_counter()
            status, answer = client("POST", "/v1/events", {"event_type": "click", "user_id": user, "item_id": item})
            missed += status != 200 or answer["accepted"] != 1 or item in _ids(_recommend(client, user))
            took.append(1000 * (time.perf_counter() - started))
            number += 1
            time.sleep(0.1)
    return {
        "event to effect, p50 ms (at 50 events/s)": percentile(took, 50),
        "event to effect, p99 ms": percentile(took, 99),
        "events without effect in the next answer": missed,
        "durable event, p99 ms": percentile(background.took, 99),
    }


def _ingest(server: ServerProcess, home: Path, users: list[str], seconds: float) -> dict[str, float]:
    """Batches of 500 over HTTP, one after the other on two connections, each acknowledged when durable."""
    items = [f"i{n}" for n in range(500)]
    accepted, until = [0, 0], time.perf_counter() + seconds

    def write(place: int) -> None:
        client, number = Client(server.port), 0
        while time.perf_counter() < until:
            batch = [
                {"event_type": "click", "user_id": users[(number + n) % len(users)], "item_id": items[n],
                 "event_id": f"ingest-{place}-{number}-{n}"}
                for n in range(500)
            ]  # fmt: skip
            status, answer = client("POST", "/v1/events", batch)
            if status != 200:
                raise SystemExit(f"status {status}: {answer}")
            accepted[place] += answer["accepted"]
            number += 1

    started = time.perf_counter()
    threads = [threading.Thread(target=write, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"durable events/s over HTTP, batches of 500": sum(accepted) / (time.perf_counter() - started)}


def _items(server: ServerProcess, home: Path, users: list[str], seconds: float, rate: float) -> dict[str, float]:
    """Items are inserted and deleted while ``rate`` answers a second are asked for."""
    client, found, gone = Client(server.port), [], 0
    deleted: set[str] = set()
    checking = threading.Lock()
    wrong: list[str] = []

    def ask(own: Client, number: int) -> None:
        with checking:
            never = set(deleted)  # those whose deletion was acknowledged before this question was sent
        wrong.extend(never.intersection(_ids(_recommend(own, users[number % len(users)]))))

    content = {"title": "a twin of the others", "categories": ["twins"], "duration": 60}
    client("PUT", "/v1/items/twin", content)  # items of the same content lie at the same place
    with load(server.port, rate, ask) as background:
        until, number = time.perf_counter() + seconds, 0
        while time.perf_counter() < until:
            user, new = users[number % 500], f"twin-{number}"
            shown = _ids(_recommend(client, user))
            started = time.perf_counter()
            status, _ = client("PUT", f"/v1/items/{new}", content)
            while status == 200 and new not in _ids(client("GET", "/v1/items/twin/similar?n=300")[1]):
                if time.perf_counter() - started > 5:
                    break
            found.append(1000 * (time.perf_counter() - started))
            victim = shown[1]
            if client("DELETE", f"/v1/items/{victim}")[0] == 200:
                with checking:
                    deleted.add(victim)
                gone += victim in _ids(_recommend(client, user))
            number += 1
            time.sleep(0.1)
    return {
        f"insert to searchable, p50 ms (at {rate:g} answers/s)": percentile(found, 50),
        "insert to searchable, p99 ms": percentile(found, 99),
        "deleted items shown afterwards": gone + len(wrong),
        "deletions": len(deleted),
        "failed answers meanwhile": len(background.failed),
        "answers meanwhile, p99 ms": percentile(background.took, 99),
    }


def _changes(server: ServerProcess, home: Path, users: list[str], seconds: float) -> dict[str, float]:
    """Answers at 10 a second: before, while the index is rebuilt again and again, while models are swapped."""
    second = _second_version(home)
    client, phases, swaps = Client(server.port), {}, 0

    def ask(own: Client, number: int) -> None:
        _recommend(own, users[number % len(users)])

    with load(server.port, 10, ask) as seen:
        start = time.perf_counter()
        time.sleep(seconds)
        phases["before"] = (start, time.perf_counter())
        start, rebuilds, number = time.perf_counter(), 0, 0
        while time.perf_counter() - start < seconds:
            rows = [{"item_id": f"bulk-{number}-{n}", "title": "something new"} for n in range(LIMIT // 2)]
            client("POST", "/v1/items", rows)
            number += 1
            rebuilds += _rebuilt(client, (number + 1) * (LIMIT // 2))
        phases["index rebuilds"] = (start, time.perf_counter())
        start, models = time.perf_counter(), Home.open(home).models()
        while time.perf_counter() - start < seconds:
            models.activate(second[swaps % 2])
            while client("GET", "/v1/health/ready")[1]["model_version"] != second[swaps % 2]:
                time.sleep(0.02)
            swaps += 1
            time.sleep(1)
        phases["model swaps"] = (start, time.perf_counter())
    figures = {f"p99 ms, {name}": percentile(seen.between(*span), 99) for name, span in phases.items()}
    before = figures["p99 ms, before"]
    ratios = {f"{name} against before": value / before for name, value in list(figures.items())[1:]}
    for failure in seen.failed[:3]:
        print(f"  failed: {failure}")
    return {
        **figures, **ratios, "index rebuilds": rebuilds, "model swaps": swaps, "failed answers": len(seen.failed),
    }  # fmt: skip


def _rebuilt(client: Client, items: int) -> int:
    """Wait a moment for the index to take in what was added; 1 when it was built anew."""
    for _ in range(100):
        index = client("GET", "/v1/health/ready")[1]["index"]
        if index["dynamic"] + index["tombstones"] < LIMIT // 2:
            return 1
        if index["dynamic"] + index["tombstones"] <= LIMIT:
            return 0
        time.sleep(0.05)
    return 0


def _second_version(home: Path) -> list[str]:
    """The active version and a copy of it, newest first."""
    models = Home.open(home).models()
    folder, manifest = models.open()
    with models.draft() as draft:
        for name in manifest.files:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, draft / name)
        copy = models.publish(draft, manifest, activate=False)
    return [copy, folder.name]


def _workers(home: Path, users: list[str]) -> dict[str, float]:
    """An event sent to one of two workers: how long until every answer, whoever gives it, knows of it."""
    took = []
    with serving(home, SETTINGS, workers=2) as server:
        for number in range(20):
            user = f"stranger-{number}"
            with Client(server.port) as client:
                client("POST", "/v1/events", {"event_type": "click", "user_id": user, "item_id": "i1"})
            started = last_unaware = time.perf_counter()
            while time.perf_counter() - last_unaware < 0.5:
                with Client(server.port) as client:  # a connection of its own: either worker may take it
                    asked = time.perf_counter()
                    if not _recommend(client, user)["basis"].startswith("history"):
                        last_unaware = asked
            took.append(1000 * (last_unaware - started))
    return {"event to every one of 2 workers, slowest ms": max(took)}


def _restart(home: Path, events: int) -> dict[str, float]:
    """From the start of the process to its first answer, with so many events in the log."""
    log = Home.open(home).log()
    users, items = np.array(log.ids("user")), np.array(log.ids("item"))
    rng, have = np.random.default_rng(0), log.last_offset() + 1
    at = time.time_ns() // 1_000_000
    for first in range(have, events, 100_000):
        size = min(100_000, events - first)
        log.append_events(
            pl.DataFrame(
                {
                    "event_type": rng.choice(["impression", "click", "watch"], size),
                    "user_id": rng.choice(users, size),
                    "item_id": rng.choice(items, size),
                    "happened_at": at + np.arange(size),
                    "event_id": [f"filled-{first + n}" for n in range(size)],
                    "value": rng.uniform(1, 100, size),
                }
            )
        )
    log.close()
    for leftover in (home / "var").glob("state.npz"):
        leftover.unlink()
    whole = ServerProcess(home, SETTINGS)
    whole.end()  # saves the state
    again = ServerProcess(home, SETTINGS)
    again.kill()
    return {
        "events in the log": max(events, have),
        "restart s, from the log alone": whole.start_s,
        "restart s, with a snapshot": again.start_s,
    }


if __name__ == "__main__":
    main()
