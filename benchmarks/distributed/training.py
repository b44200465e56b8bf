"""Training in one process and on Ray: as good, how long, and what a worker that is killed costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.distributed.nodes import copied, kill, three_nodes
from upnext.home import Home
from upnext.storage.artifacts import Manifest

WORKERS = 3
Figures = Iterator[tuple[str, float]]


def measure(home: Path, work: Path, seeds: list[int]) -> Figures:
    """Both train ``home`` with the same settings, seed by seed; what they say of themselves is compared."""
    with three_nodes() as address:
        alone, ray = copied(home, work / "here"), copied(home, work / "ray")
        words = "--ray", address, "--ray-workers", str(WORKERS)
        found = {"one process": [_trained(alone, seed) for seed in seeds], "Ray": []}
        found["Ray"] = [_trained(ray, seed, *words) for seed in seeds]
        for name, runs in found.items():
            yield f"train, seconds: {name}", statistics.mean(seconds for _, seconds in runs)
        measures = [_measures(manifest) for manifest, _ in found["one process"]]
        for name in measures[0]:
            mine = statistics.mean(one[name] for one in measures)
            theirs = statistics.mean(_measures(manifest)[name] for manifest, _ in found["Ray"])
            yield f"{name}: one process", mine
            yield f"{name}: Ray, {WORKERS} workers", theirs
            yield f"{name}: difference, %", 100 * (theirs - mine) / mine
        yield from _killed(ray, seeds[0], words)


def _trained(home: Home, seed: int, *words: str) -> tuple[Manifest, float]:
    started = time.monotonic()
    command = [sys.executable, "-m", "upnext", "train", "--home", str(home.directory), "--force", "--seed", str(seed)]
    subprocess.run([*command, *words], check=True, stdout=sys.stderr)
    version = home.models().active()
    assert version is not None
    return home.models().manifest(version), time.monotonic() - started


def _measures(manifest: Manifest) -> dict[str, float]:
    """What of a version's own validation is comparable between trainings of the same data."""
    curve = manifest.metrics["ranker"]["curve"]
    best = max(curve, key=lambda entry: entry["score"])
    found = {f"ranker, validation {name}": value for name, value in best.items() if name not in ("epoch", "loss")}
    recall = manifest.metrics["sources"].get("two_tower_validation_recall")
    return {"two_tower, validation recall@20": max(recall), **found} if recall else found


def _killed(home: Home, seed: int, words: tuple[str, ...]) -> Figures:
    """A worker is killed when two epochs of the towers are kept."""
    seen: list[tuple[float, int]] = []  # when a checkpoint was first there, and how many there were before it
    killed: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        known: set[str] = set()
        while not ended.wait(0.05):
            for path in home.directory.glob("var/ray/*/run/checkpoint_*"):
                if path.name not in known:
                    known.add(path.name)
                    seen.append((time.monotonic(), len(known)))
            if len(known) >= 2 and not killed:
                killed.append(time.monotonic())
                kill("ray::RayTrainWorker")

    thread = threading.Thread(target=watch)
    thread.start()
    manifest, seconds = _trained(home, seed, *words)
    ended.set()
    thread.join()
    later = [at for at, _ in seen if at > killed[0] + 1]
    yield "a worker is killed: seconds of the whole training", seconds
    yield "  epochs kept before", sum(at <= killed[0] for at, _ in seen)
    yield "  seconds until the next epoch is kept", later[0] - killed[0] if later else float("nan")
    recall = manifest.metrics["sources"]["two_tower_validation_recall"]
    yield "  two_tower, epochs in its curve", len(recall)
    yield "  two_tower, validation recall@20", max(recall)
