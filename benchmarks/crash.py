"""Is anything lost? A server under a stream of events is killed at random moments, again and again.

After every kill the log is read: each acknowledged event must be there exactly once. In the end the state of a server
that came through all of it must equal, to the bit, what a full replay of the log gives.

python -m benchmarks.crash --kills 200
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from upnext import snapshot
from upnext.bench.server import Client, ServerProcess
from upnext.home import Home
from upnext.live import Live
from upnext.testing.same_state import differences

ITEMS, USERS, WRITERS = 500, 200, 3
SETTINGS = ("storage.snapshot_events=500",)  # so that kills also hit snapshots that are being written
KINDS = ("click", "watch", "like", "impression", "hide")


@dataclass
class Stream:
    """Numbered events: number n happened at ``base + n``, so the log itself says which ones it holds."""

    base: int
    sent: int = 0
    acknowledged: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    unsure: list[int] = field(default_factory=list)  # sent, and killed before the answer: sent again later

    def batch(self, size: int, rng: random.Random) -> list[int]:
        with self.lock:
            again = [self.unsure.pop() for _ in range(min(len(self.unsure), size // 2))]
            fresh = range(self.sent, self.sent + size - len(again))
            self.sent += len(fresh)
            numbers = [*again, *fresh]
            rng.shuffle(numbers)
            return numbers

    def event(self, number: int) -> dict[str, object]:
        rng = random.Random(number)
        return {
            "event_id": f"e{number}", "event_type": rng.choice(KINDS), "user_id": f"u{rng.randrange(USERS)}",
            "item_id": f"i{rng.randrange(ITEMS)}", "timestamp": self.base + number, "value": rng.random() * 100,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder) / "home", flags.kills, flags.seed)
    for name, value in found.items():
        print(f"{name:<36}{value}")
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    raise SystemExit(0 if found["lost"] == found["repeated"] == found["state differences"] == 0 else 1)


def run(home: Path, kills: int, seed: int = 0) -> dict[str, float]:
    """Figures of the whole; ``lost``, ``repeated`` and ``state differences`` must be 0."""
    rng = random.Random(seed)
    _make(home)
    stream = Stream(time.time_ns() // 1_000_000 - 3_600_000)
    lost = repeated = 0
    starts = []
    for kill in range(kills):
        server = ServerProcess(home, SETTINGS)
        starts.append(server.start_s)
        _stream_until(server, stream, rng.uniform(0.0, 0.8), kill, abrupt=True)
        gone, twice = _check(home, stream)
        lost, repeated = lost + gone, repeated + twice
    server = ServerProcess(home, SETTINGS)  # the survivor: what it counted event by event is saved when it ends
    _stream_until(server, stream, 1.0, kills, abrupt=False)
    gone, twice = _check(home, stream)
    return {
        "kills": kills,
        "acknowledged": len(set(stream.acknowledged)),
        "lost": lost + gone,
        "repeated": repeated + twice,
        "state differences": len(_state_differences(home)),
        "slowest restart s": round(max(starts, default=0.0), 2),
    }


def _make(home: Path) -> None:
    log = Home.create(home).log()
    numbers = range(ITEMS)
    log.upsert_items(
        pl.DataFrame(
            {
                "item_id": [f"i{n}" for n in numbers],
                "author": [f"a{n % 40}" for n in numbers],
                "categories": [[f"c{n % 9}"] for n in numbers],
            }
        )
    )
    log.close()


def _stream_until(server: ServerProcess, stream: Stream, seconds: float, seed: int, abrupt: bool) -> None:
    """Several clients write for so long, then the server is killed under them, or ended once they have stopped."""
    stop = threading.Event()
    writers = [
        threading.Thread(target=_write, args=(server.port, stream, stop, random.Random(f"{seed}/{n}")))
        for n in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    time.sleep(seconds)
    if abrupt:
        server.kill()
    stop.set()
    for writer in writers:
        writer.join()
    if not abrupt:
        server.end()


def _write(port: int, stream: Stream, stop: threading.Event, rng: random.Random) -> None:
    with Client(port) as client:
        while not stop.is_set() and _write_one(client, stream, rng):
            pass


def _write_one(client: Client, stream: Stream, rng: random.Random) -> bool:
    """One batch; False when the server is gone."""
    numbers = stream.batch(rng.choice((1, 5, 50)), rng)
    try:
        status, answer = client("POST", "/v1/events", [stream.event(number) for number in numbers])
    except (OSError, http.client.HTTPException):
        with stream.lock:
            stream.unsure.extend(numbers)
        return False
    if status != 200 or answer["rejected"]:
        raise SystemExit(f"status {status}: {answer}")
    with stream.lock:
        stream.acknowledged.extend(numbers)
    return True


def _check(home: Path, stream: Stream) -> tuple[int, int]:
    """How many acknowledged events the log lacks, and how many events it has more than once."""
    log = Home.open(home).log()
    numbers, times = np.unique(log.read_events().happened_at - stream.base, return_counts=True)
    log.close()
    return len(np.setdiff1d(stream.acknowledged, numbers)), int((times > 1).sum())


def _state_differences(home: Path) -> list[str]:
    """Between what the last server saved when it ended, and a replay of the whole log."""
    opened = Home.open(home)
    log = opened.log()
    restored: list[bool] = []
    saved = Live(
        log, opened.config, restore=lambda live: restored.append(snapshot.restore(live, home / snapshot.FILE)) or True
    )
    found = differences(saved, Live(log, opened.config), time.time_ns() // 1_000_000 + 3_600_000)
    log.close()
    return found if restored == [True] else ["the snapshot could not be restored", *found]


if __name__ == "__main__":
    main()
