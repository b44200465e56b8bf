"""What the promise to new items costs and brings: the same days of one world, with exploration and without.

Both arms are the real funnel on a real home, with the same world, users, moments and dice, trained anew every
night; they differ by `reranking.exploration.budget`, which is 0 in the control.

python -m benchmarks.exploration --days 7 --seeds 0 1 2 --json exploration.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from upnext.home import Home
from upnext.pipeline import Funnel
from upnext.serving.engine import Engine
from upnext.simulation.closed_loop import (
    Outcome,
    Visits,
    draw_visits,
    expected_seconds,
    first_impressions,
    run,
)
from upnext.simulation.frames import SimulatedData, simulate
from upnext.simulation.world import DAY_MS, WorldConfig
from upnext.training.progress import Silent
from upnext.training.run import train
from upnext.types import Candidates, Float64, Int32, Int64, Order, Requests

HOUR_MS = 3_600_000
BOOTSTRAPS = 2000
ARMS = {"explored": (), "control": ("reranking.exploration.budget=0",)}
SMALL = (
    "candidates.total=200",
    "candidates.als.quota=60",
    "candidates.als.embedding_size=16",
    "candidates.als.epochs=4",
    "candidates.two_tower.quota=100",
    "candidates.two_tower.embedding_size=32",
    "candidates.two_tower.epochs=2",
    "candidates.two_tower.encoder=average",
    "candidates.because_you_watched.quota=60",
    "candidates.favourite_topics.quota=60",
    "candidates.trending.quota=20",
    "ranking.epochs=2",
    "ranking.batch_size=256",
    "ranking.expert_sizes=[32, 16]",
    "ranking.history_size=20",
    "features.history_size=32",
    "features.tick_seconds=600",
    "training.max_examples=50000",
    "training.threads=1",
)


@dataclass(frozen=True)
class Setting:
    """One closed loop. The world is older than the loop: an earlier recommender left the log of its last days."""

    seed: int = 0
    days: int = 7
    items: int = 2500
    users: int = 600
    slates_a_day: int = 2600
    days_before: int = 23
    days_of_log: int = 6
    log_slates_a_day: int = 480
    step_minutes: int = 10
    nights: bool = True
    overrides: tuple[str, ...] = SMALL

    @property
    def world(self) -> WorldConfig:
        days = self.days_before + self.days
        impressions = days * self.log_slates_a_day * WorldConfig.slate_size
        return WorldConfig(items=self.items, users=self.users, impressions=impressions, days=days, seed=self.seed)

    @property
    def begin(self) -> int:
        return self.world.start_at + self.days_before * DAY_MS


class Witness:
    """A reranker before exploration that changes nothing, and remembers what the slates would have been."""

    name = "witness"

    def __init__(self) -> None:
        self.plain: list[Int32] = []

    def __call__(self, requests: Requests, candidates: Candidates) -> Order:
        self.plain.append(first_of(candidates, requests.k)[0])
        return Order(np.arange(len(candidates)), candidates.offsets, np.ones(len(candidates), np.float32))

    def before_exploration(self, funnel: Funnel) -> Funnel:
        return replace(funnel, rerankers=[*funnel.rerankers[:-1], self, funnel.rerankers[-1]])


def first_of(chosen: Candidates, k: int) -> tuple[Int32, Float64]:
    """Codes and propensities of the first k rows of each request, ``[B, k]``; -1 and 1 where there are fewer."""
    codes, propensity = np.full((chosen.batch, k), -1, np.int32), np.ones((chosen.batch, k))
    rank = np.arange(len(chosen)) - chosen.offsets[:-1][chosen.request]
    row = np.flatnonzero(rank < k)
    place = chosen.request[row], rank[row]
    codes[place], propensity[place] = chosen.item[row], np.asarray(chosen["propensity"], np.float64)[row]
    return codes, propensity


class EngineService:
    """The real funnel over a home, asked in batches; its clock is the world's."""

    def __init__(self, home: Home, data: SimulatedData, begin: int) -> None:
        self.home, self._data, self._now = home, data, begin
        self.engine = Engine(home, wall=lambda: self._now)
        self.witness = Witness()
        self._as_of, self._chances = -1, np.empty(0)
        self.seconds = {"answer": 0.0, "hear": 0.0, "train": 0.0}

    def publish(self, items: Int32, now: int) -> None:
        self._now = now
        self.engine.log.upsert_items(self._data.items[items.tolist()])
        self.engine.refresh()

    def slates(self, users: Int32, at: Int64, k: int) -> Int32:
        started = time.perf_counter()
        live = self.engine.live
        codes = live.users.ids.encode([f"u{user}" for user in users.tolist()])
        funnel = self.witness.before_exploration(self.engine.funnels.whole)
        found, propensity = first_of(funnel(live.requests(codes, at, k), observe=False).chosen, k)
        slates = self._rows(found)
        self._as_of, self._chances = live.offset, propensity[slates >= 0]
        self.seconds["answer"] += time.perf_counter() - started
        return slates

    def plain(self) -> Int32:
        """All slates as they would have been without exploration, in the same state: world rows, ``[V, k]``."""
        return self._rows(np.concatenate(self.witness.plain))

    def _rows(self, codes: Int32) -> Int32:
        names = [int(name[1:]) for name in self.engine.live.catalogue.ids.names]
        return np.append(np.array(names, np.int32), np.int32(-1))[codes]

    def hear(self, events: pl.DataFrame, now: int) -> None:
        """All impressions of a step are heard at its end, in the order of its slates."""
        started = time.perf_counter()
        self._now = now
        impression = (events["event_type"] == "impression").to_numpy()
        context = np.full(len(events), None, object)
        as_of = np.full(len(events), None, object)
        if impression.any():
            context[impression] = [json.dumps({"propensity": round(chance, 6)}) for chance in self._chances.tolist()]
            as_of[impression] = self._as_of
        columns = {name: events[name] for name in events.columns if name not in ("event_id", "received_at")}
        self.engine.ingest.append({**columns, "context": context.tolist(), "as_of": as_of.tolist()})
        self.seconds["hear"] += time.perf_counter() - started

    def night(self, now: int) -> None:
        started = time.perf_counter()
        train(self.home, now, Silent())
        self.engine.reload()
        self.seconds["train"] += time.perf_counter() - started


@dataclass
class Arm:
    outcome: Outcome
    plain: Float64  # [V], seconds expected of the slates without exploration, in the same state
    drawn: Int64  # [V], rows that exploration brought into the slate
    standing: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)


def prepare(setting: Setting, folder: Path) -> SimulatedData:
    """A world, and in ``folder`` a home with what was known of it when the loop begins, and a model."""
    data, begin = simulate(setting.world), setting.begin
    Home.create(folder)
    home = Home.open(folder, setting.overrides)
    log = home.log()
    known = int(np.searchsorted(data.truth.published_at, begin, side="right"))
    log.upsert_items(data.items[:known])
    log.upsert_users(data.users)
    since = begin - setting.days_of_log * DAY_MS
    log.append_events(data.events.filter(pl.col("happened_at").is_between(since, begin, closed="left")))
    log.close()
    train(home, None, Silent())
    return data


def play(setting: Setting, name: str, base: Path, data: SimulatedData) -> Arm:
    """One arm on its own copy of the home."""
    folder = base.with_name(f"{base.name}-{name}")
    shutil.copytree(base, folder)
    visits = visits_of(setting, data)
    with threadpool_limits(1):
        service = EngineService(Home.open(folder, (*setting.overrides, *ARMS[name])), data, setting.begin)
        with service.engine:
            night = service.night if setting.nights else lambda now: None
            outcome = run(data.truth, visits, service, setting.begin, setting.world.end_at, night)
            shown = service.plain()
            plain = expected_seconds(data.truth, visits.user, shown, visits.at)
            drawn = (outcome.slate[:, :, None] != shown[:, None, :]).all(axis=2).sum(axis=1)
            return Arm(outcome, plain, drawn, asdict(service.engine.live.promises.standing()), service.seconds)


def visits_of(setting: Setting, data: SimulatedData) -> Visits:
    return draw_visits(data.truth, setting.begin, setting.days, setting.slates_a_day, setting.step_minutes * 60_000)


def figures(setting: Setting, data: SimulatedData, arms: Mapping[str, Arm], promised: int, hours: float) -> dict:
    """Everything that is said of one seed."""
    world, visits, begin = data.truth, visits_of(setting, data), setting.begin
    day = (visits.at - begin) // DAY_MS
    new = np.flatnonzero((world.published_at >= begin) & (world.published_at < setting.world.end_at))
    due = world.published_at[new] + hours * HOUR_MS <= setting.world.end_at
    born = (world.published_at[new] - begin) // DAY_MS
    found: dict = {"seed": setting.seed, "new items": len(new), "visits": len(visits), "days": []}
    k = world.config.slate_size
    found["promised share of slots"] = len(new) * promised / (len(visits) * k)
    for name, arm in arms.items():
        first = first_impressions(world, visits, arm.outcome, int(hours * HOUR_MS))[new]
        found[name] = {
            "reached": float((first[due] >= promised).mean()),
            "reached by day": [share(first[due & (born == d)] >= promised) for d in range(setting.days)],
            "first impressions, percentiles 1 5 50": np.percentile(first[due], [1, 5, 50]).tolist(),
            "watch seconds": float(arm.outcome.seconds.sum()),
            "expected seconds": float(arm.outcome.expected.sum()),
            "standing": arm.standing,
            "took": arm.seconds,
        }
    explored, control = arms["explored"].outcome, arms["control"].outcome
    for d in range(setting.days):
        rows = day == d
        found["days"].append(
            {
                "new": int((born == d).sum()),
                "watched": [float(explored.seconds[rows].sum()), float(control.seconds[rows].sum())],
                "expected": [float(explored.expected[rows].sum()), float(control.expected[rows].sum())],
                "explored % of slots": 100 * float(arms["explored"].drawn[rows].mean()) / k,
                "at once %": cost(
                    visits.user[rows], explored.expected[rows], arms["explored"].plain[rows], setting.seed
                ),
                "cost %": cost(visits.user[rows], explored.expected[rows], control.expected[rows], setting.seed),
            }
        )
    found["explored % of slots"] = 100 * float(arms["explored"].drawn.mean()) / k
    found["explored % of slots, busiest 6 hours"] = busiest(arms["explored"].drawn, visits.at - begin, k)
    found["at once % of all days"] = cost(visits.user, explored.expected, arms["explored"].plain, setting.seed)
    found["cost % of all days"] = cost(visits.user, explored.expected, control.expected, setting.seed)
    found["cost % of all days, watched"] = cost(visits.user, explored.seconds, control.seconds, setting.seed)
    return found


def busiest(drawn: Int64, since: Int64, k: int) -> float:
    """The largest share of slots, in percent, that was explored in six hours on end with 100 visits or more."""
    hours = np.bincount(since // HOUR_MS, weights=drawn), np.bincount(since // HOUR_MS)
    explored, visits = (np.convolve(counted, np.ones(6), "valid") for counted in hours)
    return 100 * float((explored / np.maximum(visits * k, 1))[visits >= 100].max(initial=0))


def share(mask: np.ndarray) -> float | None:
    return float(mask.mean()) if len(mask) else None


def cost(user: Int32, explored: np.ndarray, control: np.ndarray, seed: int) -> list[float]:
    """What is lost against the control in percent, and its 95 % interval from drawing users anew."""
    size = int(user.max()) + 1
    by_user = [np.bincount(user, weights=values.astype(np.float64), minlength=size) for values in (explored, control)]
    rng = np.random.default_rng(seed)
    times = rng.multinomial(size, np.full(size, 1 / size), BOOTSTRAPS)
    drawn = 100 * (1 - (times @ by_user[0]) / (times @ by_user[1]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [float(100 * (1 - by_user[0].sum() / by_user[1].sum())), float(low), float(high)]


def measure(setting: Setting, folder: Path, processes: int) -> dict:
    base = folder / f"seed{setting.seed}"
    data = prepare(setting, base)
    if processes > 1:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            tasks = {name: pool.submit(play, setting, name, base, data) for name in ARMS}
            arms = {name: task.result() for name, task in tasks.items()}
    else:
        arms = {name: play(setting, name, base, data) for name in ARMS}
    promise = Home.open(base, setting.overrides).config.reranking.exploration
    return figures(setting, data, arms, int(promise.max_impressions), promise.within_hours)


def show(found: dict) -> None:
    promised = 100 * found["promised share of slots"]
    print(f"seed {found['seed']}: {found['new items']} new items in {found['visits']:,} visits; ", end="")
    print(f"the promise is {promised:.1f} % of all slots")
    print("            reached      explored    hours expected             cost in %:")
    print("day  new   with  without  slots     with   without   at once                  against the control")
    for d, row in enumerate(found["days"]):
        reached = [found[name]["reached by day"][d] for name in ARMS]
        shares = "".join("       -" if value is None else f"{100 * value:7.1f}%" for value in reached)
        hours = "".join(f"{value / 3600:9.1f}" for value in row["expected"])
        at_once, against = interval(row["at once %"]), interval(row["cost %"])
        print(f"{d + 1:>3}{row['new']:>5}{shares}{row['explored % of slots']:7.1f}%{hours}   {at_once:<22}   {against}")
    for name in ARMS:
        arm = found[name]
        print(
            f"{name}: {100 * arm['reached']:.1f} % reached, {arm['expected seconds'] / 3600:.1f} h expected, ", end=""
        )
        print(f"{arm['watch seconds'] / 3600:.1f} h watched; {arm['took']}")
    busy = found["explored % of slots, busiest 6 hours"]
    print(f"explored {found['explored % of slots']:.1f} % of slots, {busy:.1f} % in the busiest 6 hours")
    print(f"cost of all days: at once {interval(found['at once % of all days'])}, ", end="")
    print(f"against the control: expected {interval(found['cost % of all days'])}, ", end="")
    print(f"watched {interval(found['cost % of all days, watched'])}")
    print(json.dumps(found["explored"]["standing"]), flush=True)


def interval(value: list[float]) -> str:
    return f"{value[0]:+.2f} ({value[1]:+.2f} to {value[2]:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="a setting of both arms, such as a.b=1")
    parser.add_argument("--no-nights", action="store_true", help="keep the first model")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    flags = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in flags.seeds:
            setting = Setting(seed=seed, days=flags.days, nights=not flags.no_nights, overrides=(*SMALL, *flags.set))
            found.append(measure(setting, Path(folder), flags.processes))
            show(found[-1])
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
