"""New users: how good answers are after nothing, one, three and ten of their events.

python -m benchmarks.quality --dataset movietweetings --data ../shared/data/movietweetings --work films --no-peers
python -m benchmarks.quality.newcomers --data ../shared/data/movietweetings --work films

Asked are those who have no rating before the test period, and at least two more than the events in it. They are asked
right after their first ratings, by models that were trained without them; what they rate later is the truth. Counters
stand still at the beginning of the period: what is popular is what was popular then, for upnext as for the list beside.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.quality.datasets import load
from benchmarks.quality.lists import Top
from benchmarks.quality.metrics import mean, ndcg, recall
from benchmarks.quality.split import Lists
from upnext.evaluation.slates import by_score, padded
from upnext.home import Home
from upnext.live import Live
from upnext.pipeline import first_k
from upnext.serving.funnels import load_funnels
from upnext.types import NO_USER, History, Ragged

EVENTS, MORE, K, AT_ONCE = (0, 1, 3, 10), 2, 20, 32
DAYS_30 = 30 * 86_400_000
SOURCES = ("two_tower", "because_you_watched", "trending")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="what a run of benchmarks.quality kept")
    parser.add_argument("--json", type=Path)
    flags = parser.parse_args()
    found = {str(n): measured(Home.open(flags.work / "home"), flags.data, n) for n in EVENTS}
    Console(width=120).print(_table(found))
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measured(home: Home, data: Path, events: int) -> dict[str, Any]:
    """Recall@20 and NDCG@10 by system, of everybody who is new and was asked after so many events."""
    split = load("movietweetings", data).test
    rows = _new_ratings(data, split.now, set(split.users[~split.cold_users].tolist()))
    rows = {user: told for user, told in rows.items() if len(told) >= events + MORE}
    log = home.log()
    try:
        live, models = Live(log, home.config), home.models()
        funnels = load_funnels(home, live, models.open())
        code = {name: at for at, name in enumerate(live.catalogue.ids.names)}
        kinds = np.bincount(log.read_events(limit=1000).type)
        told = list(rows.values())
        truth = Lists.of([[code[item] for _, item, _ in user[events:]] for user in told])
        recent = split.fit.item[split.fit_at >= split.now - DAYS_30]
        popular = np.argsort(-np.bincount(recent, minlength=len(split.items)), kind="stable")[: K + max(EVENTS)]
        beside = np.array([code[name] for name in split.items[popular].tolist()], np.int32)
        shown: dict[str, list[NDArray[np.int32]]] = {name: [] for name in ("upnext", *SOURCES, "popularity, 30 days")}
        for start in range(0, len(told), AT_ONCE):
            some = told[start : start + AT_ONCE]
            known = [[code[item] for _, item, _ in user[:events]] for user in some]
            now = np.array([user[max(events - 1, 0)][0] + 1000 for user in some], np.int64)
            requests = live.requests(np.full(len(some), NO_USER, np.int32), now, K)
            acted = _history(some, known, events, int(kinds.argmax()), requests.acted.item.shape[1])
            requests = replace(requests, acted=acted, exclude=Ragged.of(known), explore=0.0)
            shown["upnext"].append(padded(funnels.whole(requests, observe=False).chosen, K))
            for source, quota in funnels.whole.sources:
                if source.name in SOURCES:
                    proposed = source(requests, quota)
                    for filter_ in funnels.whole.filters:
                        proposed = proposed.keep(filter_(requests, proposed))
                    shown[source.name].append(padded(first_k(by_score(proposed, "score"), K), K))
            for mine in known:
                shown["popularity, 30 days"].append(beside[~np.isin(beside, mine)][None, :K])
        found: dict[str, Any] = {"users": len(told)}
        for name, parts in shown.items():
            top = Top.in_order(np.concatenate(parts))
            found[name] = {"recall@20": mean(recall(top, truth, 20)), "ndcg@10": mean(ndcg(top, truth, 10))}
        return found
    finally:
        log.close()


def _new_ratings(data: Path, start: int, known: set[str]) -> dict[str, list[tuple[int, str, float]]]:
    """(when, film, stars) of everybody new since ``start``, oldest first, each film once."""
    lines = [line.split("::") for line in (data / "ratings.dat").read_text(encoding="utf-8").splitlines() if line]
    found: dict[str, list[tuple[int, str, float]]] = {}
    for user, film, stars, at in sorted(lines, key=lambda line: int(line[3])):
        if int(at) * 1000 >= start and user not in known:
            mine = found.setdefault(user, [])
            if film not in {item for _, item, _ in mine}:
                mine.append((int(at) * 1000, film, float(stars)))
    return found


def _history(some: list[list[tuple[int, str, float]]], known: list[list[int]], n: int, kind: int, size: int) -> History:
    """The first n events of each as the log would have them."""
    made = History.empty(len(some), size)
    for row, (user, items) in enumerate(zip(some, known, strict=True)):
        for slot, ((at, _, stars), item) in enumerate(zip(user[:n], items, strict=True), start=size - n):
            made.item[row, slot], made.at[row, slot] = item, at
            made.event[row, slot], made.value[row, slot] = kind, stars
    return made


def _table(found: dict[str, Any]) -> Table:
    table = Table("after events", "users", title="movietweetings: new users, recall@20 / NDCG@10", title_justify="left")
    names = [name for name in next(iter(found.values())) if name != "users"]
    for name in names:
        table.add_column(name, justify="right")
    for events, row in found.items():
        cells = [f"{row[name]['recall@20']:.4f} / {row[name]['ndcg@10']:.4f}" for name in names]
        table.add_row(events, f"{row['users']:,}", *cells)
    return table


if __name__ == "__main__":
    main()
