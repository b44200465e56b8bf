"""The log in PostgreSQL: how fast it fills, how soon others know, and what a user's history costs among many events.

python -m benchmarks.postgres --events 10000000
python -m benchmarks.postgres --url postgresql://me@db.example/bench   (default: a server of its own, synced commits)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from upnext.bench.server import Client, serving
from upnext.home import Home
from upnext.storage.postgres import PostgresLog
from upnext.testing.postgres_server import Server

ITEMS, AT_ONCE, TAIL_S = 100_000, 50_000, 0.01
PARTS = ("reads", "writers", "servers")
Figures = Iterator[tuple[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="in the log before anything else is measured")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--reads", type=int, default=10_000, help="histories read")
    parser.add_argument("--writers", type=int, default=4, help="processes that write at once")
    parser.add_argument("--batch", type=int, default=500, help="events a transaction")
    parser.add_argument("--seconds", type=float, default=15.0, help="of writing at once")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure these parts; default: all")
    parser.add_argument("--url", help="an empty database of yours")
    parser.add_argument("--folder", type=Path, help="where the server of its own keeps its data")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    flags = parser.parse_args()
    found: dict[str, float] = {}
    with _database(flags.url, flags.folder) as url:
        for name, value in _run(url, flags):
            found[name] = round(value, 3)
            print(f"{name:<62}{value:14,.2f}", flush=True)
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


@contextmanager
def _database(url: str | None, folder: Path | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    server = Server(["shared_buffers=512MB", "max_wal_size=4GB"], folder)
    try:
        yield f"postgresql://{server.rest('bench')}"
    finally:
        server.close()


def _run(url: str, flags: argparse.Namespace) -> Figures:
    log = PostgresLog(url.partition("://")[2])
    yield from _fill(log, flags.events, flags.users)
    if "reads" in flags.only:
        yield from _reads(log, flags, "at rest")
    if "writers" in flags.only:
        yield from _writers(log, url, flags)
    log.close()
    if "servers" in flags.only:
        yield from _servers(url)


def _events(rng: np.random.Generator, count: int, users: int, at: np.ndarray) -> pl.DataFrame:
    """Some users act far more often than others."""
    return pl.DataFrame(
        {
            "event_type": pl.Series(rng.choice(["impression", "click", "watch"], count)),
            "user_id": pl.Series((rng.random(count) ** 2 * users).astype(int)).cast(pl.String),
            "item_id": pl.Series((rng.random(count) ** 2 * ITEMS).astype(int)).cast(pl.String),
            "happened_at": at,
            "value": rng.random(count),
        }
    )


def _fill(log: PostgresLog, events: int, users: int) -> Figures:
    """As an import does: in the order of time, in large parts."""
    rng, began = np.random.default_rng(0), time.time_ns() // 1_000_000 - events
    started = time.perf_counter()
    for start in range(0, events, AT_ONCE):
        size = min(AT_ONCE, events - start)
        log.append_events(_events(rng, size, users, began + np.arange(start, start + size)))
    yield f"events/s written, {events:,} in parts of {AT_ONCE:,}", events / (time.perf_counter() - started)
    sizes = "SELECT pg_total_relation_size('events') AS n"
    yield "bytes an event, indexes included", log.pool.rows(sizes)["n"][0] / max(log.last_offset() + 1, 1)
    started = time.perf_counter()
    found = len(log.read_events())
    yield "events/s read back", found / (time.perf_counter() - started)


def _reads(log: PostgresLog, flags: argparse.Namespace, when: str) -> Figures:
    """The latest 100 events of users drawn as they act, so that large histories are among them."""
    rng = np.random.default_rng(1)
    ids = (rng.random(flags.reads) ** 2 * flags.users).astype(int).astype(str)
    took, sizes = np.empty(len(ids)), np.empty(len(ids))
    for number, user in enumerate(ids.tolist()):
        started = time.perf_counter()
        sizes[number] = len(log.user_events(user, 100))
        took[number] = 1000 * (time.perf_counter() - started)
    yield f"history of a user {when}, events: mean", float(sizes.mean())
    for share in (50, 99, 99.9):
        yield f"history of a user {when}, ms: p{share}", float(np.percentile(took, share))


def _write(url: str, number: int, flags: argparse.Namespace, told: multiprocessing.Queue[list[float]]) -> None:
    log, rng, took = PostgresLog(url.partition("://")[2]), np.random.default_rng(100 + number), list[float]()
    until = time.monotonic() + flags.seconds
    while time.monotonic() < until:
        now = time.time_ns() // 1_000_000
        started = time.perf_counter()
        batch = _events(rng, flags.batch, flags.users, np.full(flags.batch, now))
        log.append_events(batch.with_columns(received_at=pl.lit(now)), arriving=True)
        took.append(1000 * (time.perf_counter() - started))
    told.put(took)
    log.close()


def _writers(log: PostgresLog, url: str, flags: argparse.Namespace) -> Figures:
    """Several processes write; a tail that looks every 10 ms says how old news are when it meets them."""
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[list[float]] = context.Queue()
    first, lags, ended = log.last_offset(), list[float](), threading.Event()

    def tail() -> None:
        offset = first
        while not ended.wait(TAIL_S):
            news = log.read_events(offset)
            if len(news):
                lags.append(time.time_ns() / 1e6 - int(news.happened_at.min()))  # since its writer set out to write it
                offset = int(news.offset[-1])

    tailing = threading.Thread(target=tail)
    tailing.start()
    writers = [context.Process(target=_write, args=(url, n, flags, told)) for n in range(flags.writers)]
    for writer in writers:
        writer.start()
    if "reads" in flags.only:
        time.sleep(min(3.0, flags.seconds / 4))  # until they are under way
        beside = argparse.Namespace(**{**vars(flags), "reads": flags.reads // 10})
        yield from _reads(log, beside, f"beside {flags.writers} writers")
    took = [entry for _ in writers for entry in told.get()]
    for writer in writers:
        writer.join()
    ended.set()
    tailing.join()
    written = log.read_events(first)
    span = (int(written.received_at[-1]) - int(written.received_at[0])) / 1000
    yield f"events/s of {flags.writers} processes in batches of {flags.batch}", len(written) / max(span, 1e-9)
    yield "a batch, ms: p50", float(np.percentile(took, 50))
    yield "a batch, ms: p99", float(np.percentile(took, 99))
    yield "tail lag (oldest of the news, from before it is written), ms: p50", float(np.percentile(lags, 50))
    yield "tail lag (oldest of the news, from before it is written), ms: p99", float(np.percentile(lags, 99))


def _servers(url: str, events: int = 100) -> Figures:
    """Two homes on one database, each with a server: an event goes to one, and the other is asked until it knows."""
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder) / name for name in ("one", "other")]
        for home in homes:
            Home.create(home)
        setting = [f"storage.log={url.rpartition('schema=')[0]}schema=bench_servers"]
        with (
            serving(homes[0], setting) as first,
            serving(homes[1], setting) as second,
            first.client() as one,
            second.client() as other,
        ):
            took = [_known_after(one, other, f"u{number}") for number in range(events)]
    yield "event at one server, in the answers of another, ms: p50", float(np.percentile(took, 50))
    yield "event at one server, in the answers of another, ms: p99", float(np.percentile(took, 99))
    yield "event at one server, in the answers of another, ms: most", max(took)


def _known_after(one: Client, other: Client, user: str) -> float:
    started = time.perf_counter()
    status, _ = one("POST", "/v1/events", {"event_type": "click", "user_id": user, "item_id": "i1"})
    assert status == 200
    question = {"user_id": user, "log_impressions": False}
    while other("POST", "/v1/recommendations", question)[1]["basis"] != "history of 1 event":
        time.sleep(0.005)
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
