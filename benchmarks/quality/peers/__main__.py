"""python -m benchmarks.quality.peers FOLDER --k 20 --seeds 0 1 2: from test.npz and validation.npz to top lists."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.lists import Top, top_for
from benchmarks.quality.metrics import mean, ndcg
from benchmarks.quality.peers import attributes, ease, factors, knn, popularity
from benchmarks.quality.peers.method import Method, Score, Settings, timed
from benchmarks.quality.split import Int64, Split, Splits

METHODS = (*popularity.METHODS, *knn.METHODS, *attributes.METHODS, *factors.METHODS, *ease.METHODS)
VALIDATION_USERS = 5000
K = 10  # NDCG@10 on validation decides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", help="names of peers, or their beginnings")
    flags = parser.parse_args()
    splits = Splits(Split.load(flags.folder / "test.npz"), Split.load(flags.folder / "validation.npz"))
    written = []
    for method in METHODS:
        wanted = flags.only is None or method.name.startswith(tuple(flags.only))
        if wanted and method.fits(splits.test):
            written.append(_run(method, splits, flags.folder, flags.k, flags.seeds))
            (flags.folder / "peers.json").write_text(json.dumps(written, indent=1), encoding="utf-8")


def _run(method: Method, splits: Splits, folder: Path, k: int, seeds: list[int]) -> dict[str, Any]:
    """The entry of one peer; its lists are written."""
    settings = _chosen(method, splits.validation)
    files, seconds = [], []
    for seed in seeds if method.random else seeds[:1]:
        started = time.process_time()
        score = method.fit(splits.test, settings, seed)
        seconds.append(time.process_time() - started)
        name = f"{_slug(method.name)}-{seed}.npz"
        _top(score, splits.test, splits.test.asked, k).save(folder / name)
        files.append(name)
        print(f"{method.name}, seed {seed}: fitted in {seconds[-1]:.1f} CPU s with {dict(settings)}", flush=True)
    note = ", ".join(f"{name} {value:g}" for name, value in settings.items())
    return {"name": method.name, "files": files, "fit seconds": seconds, "note": note}


def _chosen(method: Method, split: Split) -> Settings:
    """The settings with the highest NDCG on validation; the first of equal ones."""
    if len(method.settings) == 1:
        return method.settings[0]
    asked = split.asked
    if len(asked) > VALIDATION_USERS:
        asked = np.sort(np.random.default_rng(0).choice(asked, VALIDATION_USERS, replace=False))
    best, found = method.settings[0], -1.0
    for settings in method.settings:
        top = _top(method.fit(split, settings, 0), split, asked, K)
        value = mean(ndcg(top, split.truth.take(asked), K))
        print(f"{method.name}, validation, {dict(settings)}: NDCG@{K} {value:.4f}", flush=True)
        if value > found:
            best, found = settings, value
    return best


def _top(score: Score, split: Split, asked: Int64, k: int) -> Top:
    """The lists of a peer. Who has no history gets what is popular, as every such system does it."""
    fallback = popularity.fit_recent if timed(split) else popularity.fit_all_time
    popular = fallback(split, {}, 0)
    cold = split.cold_users

    def scores(users: Int64) -> Any:
        found = score(split, users)
        if cold[users].any():
            found = np.where(cold[users][:, None], popular(split, users), found)
        return found

    return top_for(asked, split.history, k, scores)


def _slug(name: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in name.lower()).split())


if __name__ == "__main__":
    main()
