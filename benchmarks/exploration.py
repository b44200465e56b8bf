"""What the promise to new items costs and brings: two weeks of one world, with exploration and without.

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
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from upnext.home import Home
from upnext.serving.engine import Engine
from upnext.simulation.closed_loop import Outcome, Visits, draw_visits, first_impressions, run
from upnext.simulation.frames import SimulatedData, simulate
from upnext.simulation.world import DAY_MS, WorldConfig
from upnext.training.progress import Silent
from upnext.training.run import train
from upnext.types import Int32, Int64

HOUR_MS = 3_600_000
STEP_MS = 10 * 60_000
BOOTSTRAPS = 2000
ARMS = {"explored": (), "control": ("reranking.exploration.budget=0",)}
SMALL = (
    "candidates.total=200",
    "candidates.als.quota=60",
    "candidates.als.embedding_size=16",
    "candidates.als.epochs=4",
    "candidates.two_tower.quota=100",
    "candidates.two_tower.embedding_size=32",
    "candidates.two_tower.epochs=3",
    "candidates.two_tower.encoder=average",
    "candidates.because_you_watched.quota=60",
    "candidates.favourite_topics.quota=60",
    "candidates.trending.quota=20",
    "ranking.epochs=2",
    "ranking.expert_sizes=[32, 16]",
    "ranking.history_size=20",
    "features.history_size=32",
    "training.max_examples=80000",
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


class EngineService:
    """The real funnel over a home, asked in batches; its clock is the world's."""

    def __init__(self, home: Home, data: SimulatedData, begin: int) -> None:
        self.home, self._data, self._now = home, data, begin
        self.engine = Engine(home, wall=lambda: self._now)
        self._propensity: dict[str, float] = {}
        self._as_of = -1
        self.seconds = {"answer": 0.0, "hear": 0.0, "train": 0.0}

    def publish(self, items: Int32, now: int) -> None:
        self._now = now
        self.engine.log.upsert_items(self._data.items[items.tolist()])
        self.engine.refresh()

    def slates(self, users: Int32, at: Int64, k: int) -> Int32:
        started = time.perf_counter()
        live = self.engine.live
        codes = live.users.ids.encode([f"u{user}" for user in users.tolist()])
        chosen = self.engine.funnels.whole(live.requests(codes, at, k), observe=False).chosen
        rows = np.array([int(live.catalogue.ids.names[code][1:]) for code in chosen.item.tolist()], np.int32)
        slates, propensity = np.full((len(users), k), -1, np.int32), np.ones((len(users), k))
        place = chosen.request, np.arange(len(chosen)) - chosen.offsets[:-1][chosen.request]
        slates[place], propensity[place] = rows, chosen["propensity"]
        self._as_of, self._chances = live.offset, propensity[slates >= 0]
        self.seconds["answer"] += time.perf_counter() - started
        return slates

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
            return Arm(outcome, asdict(service.engine.live.promises.standing()), service.seconds)


def visits_of(setting: Setting, data: SimulatedData) -> Visits:
    return draw_visits(data.truth, setting.begin, setting.days, setting.slates_a_day, STEP_MS)


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
                "cost %": cost(visits.user[rows], explored.expected[rows], control.expected[rows], setting.seed),
            }
        )
    found["cost % of all days"] = cost(visits.user, explored.expected, control.expected, setting.seed)
    found["cost % of all days, watched"] = cost(visits.user, explored.seconds, control.seconds, setting.seed)
    return found


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
    print("day  new  reached   control  expected h  control   cost % (95 % interval)")
    for d, row in enumerate(found["days"]):
        reached = [found[name]["reached by day"][d] for name in ARMS]
        shares = "".join("        -" if value is None else f"{100 * value:8.1f}%" for value in reached)
        hours = "".join(f"{value / 3600:10.1f}" for value in row["expected"])
        print(f"{d + 1:>3}{row['new']:>5}{shares}{hours}   {interval(row['cost %'])}")
    for name in ARMS:
        arm = found[name]
        print(
            f"{name}: {100 * arm['reached']:.1f} % reached, {arm['expected seconds'] / 3600:.1f} h expected, ", end=""
        )
        print(f"{arm['watch seconds'] / 3600:.1f} h watched; {arm['took']}")
    print(f"cost of all days: expected {interval(found['cost % of all days'])}, ", end="")
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
