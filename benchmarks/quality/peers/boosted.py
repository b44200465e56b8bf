"""python -m benchmarks.quality.peers.boosted FOLDER --seeds 0 1 2: LightGBM, a model a task, on replayed features.

Reads train.npz and test.npz (``x [N, F]``, ``label.<task> [N]``), writes lightgbm-SEED.npz (``<task> [N]``).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm  # type: ignore[import-not-found]  # of the peers' environment only
import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
TREES = 250
SETTINGS = {
    "learning_rate": 0.05,
    "num_leaves": 63,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "verbosity": -1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    flags = parser.parse_args()
    train, test = (_read(flags.folder / name) for name in ("train.npz", "test.npz"))
    seconds = []
    for seed in flags.seeds:
        started = time.process_time()
        found = {name.removeprefix("label."): _fitted(name, train, test, seed) for name in train if name != "x"}
        seconds.append(time.process_time() - started)
        np.savez(flags.folder / f"lightgbm-{seed}.npz", allow_pickle=False, **found)
        print(f"LightGBM, seed {seed}: {len(found)} models in {seconds[-1]:.1f} s", flush=True)
    (flags.folder / "peers.json").write_text(json.dumps({"fit seconds": seconds}), encoding="utf-8")


def _fitted(name: str, train: Arrays, test: Arrays, seed: int) -> Any:
    """Predictions for the test rows: a probability, or the median of the seconds."""
    label = train[name]
    objective = "binary" if label.max(initial=0) <= 1 else "regression_l1"
    settings = {**SETTINGS, "objective": objective, "seed": seed}
    model = lightgbm.train(settings, lightgbm.Dataset(train["x"], label), num_boost_round=TREES)
    return np.asarray(model.predict(test["x"]), np.float64)


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


if __name__ == "__main__":
    main()
