"""What does a server do with more than it can do? Answers asked for at rising rates, from another process than its own.

python -m benchmarks.overload --home demo
python -m benchmarks.overload --home demo --rates 100 500 --writes 20 --set serving.max_wait_ms=50

`answered p50/p99` count from when a request was sent; `sent late` is how far behind its schedule this process was,
so a large one means that the rate was not reached. ``--home`` should be a copy: users are asked for, clicks written.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load import Load, load, percentile, users_of
from upnext.bench.server import Client, ServerProcess, serving

RATES = (50, 100, 150, 200, 300, 500)
REST_S = 1.0  # between two rates: what waits is done by then
Row = dict[str, float]


@dataclass
class Seen:
    """Milliseconds from sending to the answer, by what the answer was."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    degraded: int = 0
    ranked: list[int] = field(default_factory=list)  # candidates that the full ranker saw, of each answer
    written: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("demo"))
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="answers asked for, a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--writes", type=float, default=5.0, help="events a second beside the questions")
    parser.add_argument("--set", dest="settings", nargs="+", default=[], help="settings of the server")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    flags = parser.parse_args()
    users, rows = users_of(flags.home), []
    with serving(flags.home, flags.settings, flags.workers) as server:
        _at(server, users, 20.0, 3.0, flags.connections, flags.writes)  # what is lazy is made, what is measured settles
        for rate in flags.rates:
            rows.append(_at(server, users, rate, flags.seconds, flags.connections, flags.writes))
            if len(rows) == 1:
                print("  ".join(f"{name:>14}" for name in rows[0]))
            print("  ".join(f"{value:14.3g}" for value in rows[-1].values()), flush=True)
            time.sleep(REST_S)
    if flags.json:
        flags.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _at(server: ServerProcess, users: list[str], rate: float, seconds: float, connections: int, writes: float) -> Row:
    """One rate: questions, and beside them a few events and looks at the health."""
    seen = Seen()

    def ask(client: Client, number: int) -> None:
        body = {"user_id": users[number % len(users)], "n": 10}
        sent = time.perf_counter()
        status, answer = client("POST", "/v1/recommendations", body)
        took = 1000 * (time.perf_counter() - sent)
        if status == 200:
            seen.answered.append(took)
            seen.degraded += bool(answer["degraded"])
            rows = [stage["rows_in"] for stage in answer["stages"] if stage["name"] == "multi_task"]
            seen.ranked.append(max(rows, default=0))
        elif status == 503:
            seen.refused.append(took)
        else:
            seen.wrong.append(f"status {status}: {answer}")

    def write(client: Client, number: int) -> None:
        event = {"event_type": "click", "user_id": users[-1 - number % 1000], "item_id": f"overload-{number % 50}"}
        sent = time.perf_counter()
        status, answer = client("POST", "/v1/events", {**event, "event_id": f"load-{time.time_ns()}-{number}"})
        seen.written.append(1000 * (time.perf_counter() - sent))
        if status != 200:
            seen.wrong.append(f"status {status}: {answer}")

    def look(client: Client, number: int) -> None:
        sent = time.perf_counter()
        status, _ = client("GET", "/v1/health/ready")
        seen.health.append(1000 * (time.perf_counter() - sent))
        if status != 200:
            seen.wrong.append(f"health: status {status}")

    with (
        load(server.port, writes, write, 4),
        load(server.port, 5.0, look, 2),
        load(server.port, rate, ask, connections) as questions,
    ):
        time.sleep(seconds)
    seen.wrong += questions.failed
    for wrong in seen.wrong[:3]:
        print(f"  wrong: {wrong}")
    return _row(rate, seconds, seen, questions)


def _row(rate: float, seconds: float, seen: Seen, questions: Load) -> Row:
    answered, refused = len(seen.answered), len(seen.refused)
    behind = [ms - own for ms, own in zip(questions.took, questions.own, strict=True)]
    return {
        "asked/s": rate,
        "answered/s": answered / seconds,
        "shed %": 100 * refused / max(answered + refused, 1),
        "answered p50": percentile(seen.answered, 50),
        "answered p99": percentile(seen.answered, 99),
        "503 p50": percentile(seen.refused, 50),
        "503 p99": percentile(seen.refused, 99),
        "degraded %": 100 * seen.degraded / max(answered, 1),
        "ranked p50": percentile(seen.ranked, 50),
        "events p99": percentile(seen.written, 99),
        "health p99": percentile(seen.health, 99),
        "sent late p99": percentile(behind, 99),
        "wrong": len(seen.wrong),
    }


if __name__ == "__main__":
    main()
