"""Facts about a simulated log, measured against its own truth: how hard the world is, and whether it is as meant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from upnext.simulation.frames import SimulatedData
from upnext.simulation.oracle import expected_value, oracle_top
from upnext.simulation.world import World, examination
from upnext.types import Bool, Float32, Float64, Int32, Int64

ROWS = 200_000  # impressions whose utility is computed at once
PEOPLE = 500  # users whose best slate is looked up


def describe(data: SimulatedData) -> dict[str, float | list[float]]:
    """Rates, the truth's own AUC of each task, inequality of exposure, and popularity beside the oracle."""
    shown = _impressions(data.events)
    world = data.truth
    examined = examination(world.config)[shown.position]
    utility, like, share = _truth(world, shown)
    click = examined * world.p_click(utility)
    counts = np.bincount(shown.item, minlength=world.config.items)
    clicks = np.bincount(shown.item[shown.clicked], minlength=world.config.items)
    return {
        "impressions": len(shown.item),
        "click_rate": float(shown.clicked.mean()),
        "like_rate": _share(shown.liked, shown.clicked),
        "share_rate": _share(shown.shared, shown.clicked),
        "watch_seconds": float(shown.seconds[shown.clicked].mean()) if shown.clicked.any() else 0.0,
        "auc_click": auc(click, shown.clicked),
        "auc_like": auc(click * like, shown.liked),
        "auc_share": auc(click * share, shown.shared),
        "exposure_gini": gini(counts),
        "click_gini": gini(clicks),
        "items_never_shown": int((counts == 0).sum()),
        "users_never_seen": world.config.users - len(np.unique(shown.user)),
        "examination": examination(world.config).round(3).tolist(),
        "examination_measured": measured_examination(shown.position, shown.clicked, world.p_click(utility)),
        **_best(world, clicks),
    }


def measured_examination(position: Int64, clicked: Bool, p_click: Float32) -> list[float]:
    """Clicks at each position per click that would be expected if everything were examined."""
    expected = np.bincount(position, weights=p_click)
    measured = np.bincount(position[clicked], minlength=len(expected)) / expected
    return [round(float(share), 3) for share in measured]


def auc(score: Float64, label: Bool) -> float:
    """Area under the ROC curve, ties counting half; NaN when there is only one class."""
    positive, negative = int(label.sum()), int((~label).sum())
    if not positive or not negative:
        return float("nan")
    ranks = pl.Series(score).rank("average").to_numpy()
    return float((ranks[label].sum() - positive * (positive + 1) / 2) / (positive * negative))


def gini(counts: Int64) -> float:
    """0 = all alike, towards 1 = one has all."""
    ordered = np.sort(counts)
    total = ordered.sum()
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total)) if total else 0.0


@dataclass(frozen=True)
class _Shown:
    user: Int32
    item: Int32
    at: Int64
    position: Int64
    clicked: Bool
    liked: Bool
    shared: Bool
    seconds: Float64


def _impressions(events: pl.DataFrame) -> _Shown:
    """One row an impression with what came of it; ids are row numbers behind one letter."""
    key = ["recommendation_id", "item_id"]
    shown = events.filter(pl.col("event_type") == "impression")
    acted = (
        events.filter(pl.col("event_type") != "impression")
        .group_by(key)
        .agg(
            clicked=(pl.col("event_type") == "click").any(),
            liked=(pl.col("event_type") == "like").any(),
            shared=(pl.col("event_type") == "share").any(),
            seconds=pl.col("value").sum(),
        )
    )
    frame = shown.join(acted, on=key, how="left", maintain_order="left").with_columns(
        pl.col("user_id", "item_id").str.slice(1).cast(pl.Int32),
        pl.col("clicked", "liked", "shared").fill_null(False),
        pl.col("seconds").fill_null(0.0),
    )
    names = ["user_id", "item_id", "happened_at", "position", "clicked", "liked", "shared", "seconds"]
    return _Shown(*(frame[name].to_numpy() for name in names))


def _truth(world: World, shown: _Shown) -> tuple[Float32, Float32, Float32]:
    """Utility, chance of a like and of a share after a click, of every impression."""
    parts = []
    for start in range(0, len(shown.item), ROWS):
        rows = slice(start, start + ROWS)
        parts.append(world.utility(shown.user[rows], shown.item[rows, None], shown.at[rows])[:, 0])
    utility = np.concatenate(parts) if parts else np.empty(0, np.float32)
    return utility, world.p_like(utility, shown.item), world.p_share(utility, shown.item)


def _best(world: World, clicks: Int64) -> dict[str, float]:
    """What the most clicked and the truly best 10 items are worth to some users when the log ends."""
    at, k = world.config.end_at, min(10, world.config.items)
    rng = world.config.stream("describe")
    users = rng.permutation(world.config.users)[:PEOPLE].astype(np.int32)
    popular = np.argsort(-clicks, kind="stable")[:k].astype(np.int32)
    slates = {"oracle": oracle_top(world, users, at, k), "popularity": np.tile(popular, (len(users), 1))}
    facts = {}
    for name, slate in slates.items():
        facts[f"{name}_click_rate"] = float(world.p_click(world.utility(users, slate, at)).mean())
        facts[f"{name}_value"] = float(expected_value(world, users, slate, at).mean())
    return facts


def _share(part: Bool, whole: Bool) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else 0.0
