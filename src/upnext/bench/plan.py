"""``upnext plan``: what a catalogue of a size will take, before anything is made. Arithmetic over ``costs.py``.

The names of the figures are those of ``upnext bench --json``, so that the two can be held against each other.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

from upnext.bench.calibrate import Speed
from upnext.bench.costs import MB, Costs
from upnext.bench.home import BRIEF
from upnext.candidates.index import COARSER, SAMPLE, SWEEPS, layout
from upnext.config import Config, TwoTowerConfig
from upnext.errors import ConfigError
from upnext.settings import load_config

VECTOR = 64  # length of the vectors in the item index of a new home
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is planned for. Raises ConfigError that names the flag of a number that makes no sense."""

    items: int
    users: int
    events: int
    rate: float = 0.0  # requests a second
    candidates: int = 1000  # that are ranked, a request
    n: int = 10  # items a slate
    cores: int = 1  # of the machine

    def __post_init__(self) -> None:
        for flag, (low, high, why) in _LIMITS.items():
            value = getattr(self, flag)
            if not (math.isfinite(value) and low <= value <= high):
                raise ConfigError(
                    f"{'-' if flag == 'n' else '--'}{flag} {value:,}: must be between {low:,} and {high:,}{why}"
                )


_LIMITS: dict[str, tuple[float, float, str]] = {
    "items": (1, 100_000_000, "; ten million were measured"),
    "users": (1, 1_000_000_000, ""),
    "events": (1, 100_000_000_000, ""),
    "rate": (0, 1_000_000, " requests a second"),
    "candidates": (1, 20_000, ""),
    "n": (1, 500, ""),
    "cores": (1, 4096, ""),
}


def wanted(
    items: int, users: int, events: int | None, rate: float, candidates: int | None, n: int, cores: int | None
) -> Wanted:
    """Events as of a simulated world, candidates as of a new home, cores of this machine, where they are not said."""
    events = round(Costs().shares.events_user * users) if events is None else events
    candidates = Config().candidates.total if candidates is None else candidates
    return Wanted(items, users, events, rate, candidates, n, (os.cpu_count() or 1) if cores is None else cores)


@dataclass(frozen=True, slots=True)
class Training:
    """Seconds a step, in order, as the manifest of a model notes them; ``other`` is what no step counts."""

    steps: tuple[tuple[str, float], ...]
    other: float
    peak_mb: float

    @property
    def seconds(self) -> float:
        return self.other + sum(seconds for _, seconds in self.steps)

    def of(self, name: str) -> float:
        """All steps of this name."""
        return sum(seconds for step, seconds in self.steps if step == name)


@dataclass(frozen=True, slots=True)
class Load:
    """What answering at a rate takes."""

    cpu_ms: float  # of a server, a request
    cores: float  # that are busy with it
    processes: int  # 0 = nobody asks
    resident_mb: float  # of all of them: mapped files are shared, the rest is not
    process_rate: float  # requests/s that one process can answer: bench's "best answered/s"
    machine_rate: float  # requests/s of this machine's cores, clients being elsewhere
    suffices: bool
    log_mb_day: float  # the log grows by the impressions of these answers


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds and MB (a million bytes; memory, as ``ps`` counts it, in MiB)."""

    wanted: Wanted
    speed: Speed
    disk: dict[str, int] = field(default_factory=dict)  # bytes a part
    resident_mb: float = 0.0  # of one server
    import_s: float = 0.0
    brief: Training = Training((), 0.0, 0.0)  # as ``upnext bench`` trains
    full: Training = Training((), 0.0, 0.0)  # with the settings of a new home, at most: it stops early
    cold_start_s: float = 0.0
    from_log_s: float = 0.0
    load: Load = Load(0.0, 0.0, 0, 0.0, 0.0, 0.0, True, 0.0)

    @property
    def disk_total(self) -> int:
        return sum(self.disk.values())


def plan(wanted: Wanted, speed: Speed, costs: Costs | None = None) -> Plan:
    """What such a home takes on a machine of this speed."""
    costs = costs or Costs()
    s, loops, i, e = costs.seconds, speed.loops, wanted.items, wanted.events
    cold = s.start_fixed + s.start_item * i
    defaults = Config()
    return Plan(
        wanted=wanted,
        speed=speed,
        disk={name: round(size) for name, size in _disk(wanted, costs).items()},
        resident_mb=_resident(wanted, costs) / 2**20,
        import_s=(s.import_fixed + s.import_item * i + s.import_user * wanted.users + s.import_event * e) / loops,
        brief=_training(wanted, load_config(None, BRIEF, {}), speed, costs),
        full=_training(wanted, defaults, speed, costs),
        cold_start_s=cold / loops,
        from_log_s=(cold + s.log_event * e) / loops,
        load=_load(wanted, speed, costs),
    )


def met(items: int, events: int, share: float) -> float:
    """How many items of a catalogue appear in a log, of whose events a ``share`` would each bring a new one."""
    return -items * math.expm1(-share * events / items)


def _disk(wanted: Wanted, costs: Costs) -> dict[str, float]:
    b, i, u, e = costs.bytes, wanted.items, wanted.users, wanted.events
    shown, acted = met(i, e, b.met_shown), met(i, e, b.met_acted)
    cells, _ = layout(i)
    return {
        "log": b.log_item * i + b.log_user * u + b.log_event * e,
        "catalogue": b.catalogue_item * i,
        "state": b.state_item * i + b.state_met * shown + b.state_user * u + b.state_event * e,
        "model, ranker": b.ranker_fixed + b.ranker_item * i,
        "model, sources/als": b.factors_acted * acted,
        "model, sources/because_you_watched": b.pairs_item * i + b.pairs_acted * acted,
        "model, item index": (b.index_item if cells else b.index_item_exact) * i + b.index_cell * cells,
        "model, sources/two_tower": b.towers_fixed + b.towers_item * i,
    }


def _resident(wanted: Wanted, costs: Costs) -> float:
    b = costs.bytes
    exact = 0 if layout(wanted.items)[0] else (b.index_item_exact - b.index_item) * wanted.items
    return (
        b.server_fixed
        + b.server_item * wanted.items
        + exact
        + b.server_user * wanted.users
        + b.server_event * wanted.events
    )


def _training(wanted: Wanted, config: Config, speed: Speed, costs: Costs) -> Training:
    """The same steps as ``upnext train``: sources on the first part, the ranker, sources on everything."""
    s, i, c = costs.seconds, wanted.items, config.training
    rows = min(costs.shares.impressions * wanted.events, c.max_examples)
    learned = rows * (1 - c.validation_share)
    ranker = config.ranking.epochs * math.ceil(learned / config.ranking.batch_size)
    steps = [
        *_sources(wanted, config, c.source_share, speed, costs),
        ("item index, for now", _index_flops(i) / COARSER / s.index_flops / speed.matrix),
        ("features as of each moment", s.features_row * rows / speed.loops),
        ("source scores", (s.scores_fixed + s.scores_item * i) / speed.loops),
        ("ranker", ranker * (s.ranker_step + s.ranker_step_item * i) / speed.matrix),
        ("choices", (s.choices + s.choices_item * i) / speed.loops),
        *_sources(wanted, config, 1.0, speed, costs),
        ("item index", _index_flops(i) / s.index_flops / speed.matrix),
    ]
    b = costs.bytes
    peak = b.training_fixed + b.training_item * i + b.training_row * rows
    return Training(tuple(steps), (s.training_fixed + s.training_item * i) / speed.loops, peak / 2**20)


def _sources(wanted: Wanted, config: Config, share: float, speed: Speed, costs: Costs) -> list[tuple[str, float]]:
    s, i, towers = costs.seconds, wanted.items, config.candidates.two_tower
    examples = costs.shares.examples * wanted.events * share
    steps, epochs = tower_steps(examples, towers)
    step = s.tower_step + s.tower_step_item * i
    recall = s.tower_recall * min(i, s.tower_recall_items)
    return [
        ("ALS", config.candidates.als.epochs * s.als_event * wanted.events * share / speed.loops),
        ("co-visitation", s.pairs_item * i / speed.loops),
        ("two-tower", (steps * step + (epochs * recall if share < 1 else 0)) / speed.matrix),
        ("item vectors", s.vectors_item * i / speed.loops),
    ]


def tower_steps(examples: float, config: TwoTowerConfig) -> tuple[int, int]:
    """Steps of the towers' fit, and its epochs: at most."""
    steps = max(1, math.ceil(examples / config.batch_size))
    epochs = max(1, min(config.epochs, config.max_steps // steps))
    return steps * epochs, epochs


def _index_flops(items: int) -> float:
    """Multiplications and additions: each vector against every cell's centre, and a sample of them SWEEPS times."""
    cells, _ = layout(items)
    return 2.0 * VECTOR * cells * (items + SWEEPS * min(items, SAMPLE * cells))


def _load(wanted: Wanted, speed: Speed, costs: Costs) -> Load:
    r, (cells, probes) = costs.request, layout(wanted.items)
    scanned = cells + wanted.items * probes / cells if cells else wanted.items
    one_at_a_time = (r.fixed + r.candidate * wanted.candidates) / speed.loops
    cpu_ms = one_at_a_time + r.scanned * scanned / speed.loops
    cores = wanted.rate * cpu_ms / 1000 / r.busy
    process_rate = 1000 * r.busy / one_at_a_time
    processes = math.ceil(wanted.rate / process_rate)
    one = _resident(wanted, costs)
    mapped = min(one, costs.bytes.server_mapped_item * wanted.items)
    return Load(
        cpu_ms=cpu_ms,
        cores=cores,
        processes=processes,
        resident_mb=(mapped + max(processes, 1) * (one - mapped)) / 2**20,
        process_rate=process_rate,
        machine_rate=1000 * r.busy / cpu_ms * wanted.cores,
        suffices=cores <= wanted.cores,
        log_mb_day=wanted.rate * wanted.n * costs.bytes.log_served * DAY_S / MB,
    )
