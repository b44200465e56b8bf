"""What diversity costs: NDCG against the difference within a slate and coverage, by method and strength.

python -m benchmarks.quality --dataset amazon-beauty --data ../shared/data/amazon-beauty --work beauty --no-peers
python -m benchmarks.quality.reranking --dataset amazon-beauty --data ../shared/data/amazon-beauty --work beauty
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.quality.datasets import NAMES, format_of, load
from benchmarks.quality.homes import DAY_MS, NEW_YEAR_2020, NOON
from benchmarks.quality.lists import Top
from benchmarks.quality.metrics import coverage, mean, ndcg
from benchmarks.quality.split import Split
from upnext.build import Model
from upnext.evaluation.slates import padded
from upnext.home import Home
from upnext.live import Live
from upnext.reranking.similarity import jaccard
from upnext.serving.funnels import load_funnels
from upnext.types import NO_USER, Candidates

K, AT_ONCE = 10, 32
STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
VARIANTS = (("none", 0.0), *((method, strength) for method in ("mmr", "dpp") for strength in STRENGTHS))
Shown = NDArray[np.int32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=NAMES, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="what a run of benchmarks.quality kept")
    parser.add_argument("--users", type=int, default=5000, help="of those who are asked, at most")
    parser.add_argument("--json", type=Path)
    flags = parser.parse_args()
    split = load(flags.dataset, flags.data).test
    asked = split.asked
    if len(asked) > flags.users:
        asked = np.sort(np.random.default_rng(0).choice(asked, flags.users, replace=False))
    rows = measured(Home.open(flags.work / "home"), split, asked, now=_now(flags.dataset, split))
    Console(width=120).print(_table(flags.dataset, rows))
    if flags.json:
        flags.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measured(home: Home, split: Split, asked: Any, now: int) -> list[dict[str, Any]]:
    """A row a variant. Every user's candidates are ranked once, and reranked by each of them."""
    log = home.log()
    try:
        live, models = Live(log, home.config), home.models()
        model = load_funnels(home, live, models.open()).model
        assert model is not None, "the home has no model"
        variants = {variant: _variant(model, home, *variant) for variant in VARIANTS}
        shown: dict[tuple[str, float], list[Shown]] = {variant: [] for variant in VARIANTS}
        users = {name: code for code, name in enumerate(log.ids("user"))}
        code = np.array([users.get(name, NO_USER) for name in split.users[asked].tolist()], np.int32)
        for batch in _batches(len(asked)):
            moment = np.full(len(code[batch]), now, np.int64)
            requests = replace(live.requests(code[batch], moment, K), explore=0.0)
            ranked = model.funnel(requests, observe=False).considered
            for variant, other in variants.items():
                shown[variant].append(padded(_again(other, requests, ranked), K))
        place = {name: at for at, name in enumerate(split.items.tolist())}
        of_split = np.array([place[name] for name in live.catalogue.ids.names], np.int32)
        truth, found = split.truth.take(asked), []
        for (method, strength), parts in shown.items():
            items = np.concatenate(parts)
            top = Top.in_order(np.where(items >= 0, of_split[items], np.int32(-1)))
            found.append(
                {
                    "method": method,
                    "strength": strength,
                    f"ndcg@{K}": mean(ndcg(top, truth, K)),
                    "differ": _differ(items, model.likeness),
                    "differ in category": _differ(items, lambda some: jaccard(live.catalogue().category[some])),
                    f"coverage@{K}": coverage(top, K, len(split.items)),
                }
            )
        return found
    finally:
        log.close()


def _variant(model: Model, home: Home, method: str, strength: float) -> Model:
    reranking = home.config.reranking.model_copy(update={"method": method, "diversity": strength})
    return model.retuned(home.config.model_copy(update={"reranking": reranking}), accounted=False)


def _again(model: Model, requests: Any, ranked: Candidates) -> Candidates:
    return model.funnel.again(requests, ranked)


def _differ(shown: Shown, likeness: Any) -> float:
    """Mean over users of 1 - the mean likeness of two items of the slate (intra-list distance)."""
    found = []
    for row in shown:
        items = row[row >= 0]
        if len(items) > 1:
            alike = np.asarray(likeness(items), np.float64)
            found.append(1 - (alike.sum() - np.trace(alike)) / (len(items) * (len(items) - 1)))
    return float(np.mean(found))


def _now(name: str, split: Split) -> int:
    """When users are asked, as benchmarks.quality.homes has it."""
    if split.now:
        return split.now

    return NEW_YEAR_2020 + DAY_MS + (NOON if format_of(name) == "sequences" else 0)


def _table(name: str, rows: list[dict[str, Any]]) -> Table:
    columns = [f"ndcg@{K}", "differ", "differ in category", f"coverage@{K}"]
    table = Table("method", "strength", title=f"{name}: diversity", title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
        table.add_column("%", justify="right", style="dim")
    for row in rows:
        cells = [row["method"], f"{row['strength']:.1f}"]
        for column in columns:
            change = 100 * (row[column] / rows[0][column] - 1) if rows[0][column] else float("nan")
            cells += [f"{row[column]:.4f}", f"{change:+.1f}"]
        table.add_row(*cells)
    return table


def _batches(size: int) -> Iterator[slice]:
    for start in range(0, size, AT_ONCE):
        yield slice(start, min(start + AT_ONCE, size))


if __name__ == "__main__":
    main()
