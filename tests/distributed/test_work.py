"""Training and batch on a Ray cluster: as good as in one process, and on from where it was when a worker is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: `make ray`")


@pytest.fixture(scope="module")
def found(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What driver.py found, on one cluster for all of it."""
    folder = tmp_path_factory.mktemp("driven")
    (folder / "home").mkdir()
    shutil.copytree(trained, folder / "trained")
    words = [folder / "home", folder / "trained", folder / "found.json"]
    command = [sys.executable, "-m", "tests.distributed.driver", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))


def test_towers_of_two_workers_find_what_those_of_one_find(found: Any) -> None:
    towers = found["towers"]
    assert towers["alone"] > 0.9
    assert towers["on ray"] >= towers["alone"] - 0.02
    assert towers["on ray, again"] == pytest.approx(towers["on ray"])  # these are the weights that were measured


def test_a_lost_worker_is_replaced_and_the_training_goes_on_from_its_last_epoch(found: Any) -> None:
    ranker = found["ranker"]
    assert ranker["killed after"] >= 2
    epochs = [entry["epoch"] for entry in ranker["curve"]]
    assert epochs == list(range(1, len(epochs) + 1))  # none twice, none left out
    assert len(epochs) > 2
    assert ranker["again"] == pytest.approx(max(entry["score"] for entry in ranker["curve"]), abs=1e-6)
    assert ranker["left"] == []  # a job leaves nothing


def test_everybody_is_answered_as_in_one_process_though_a_worker_is_lost(found: Any) -> None:
    assert found["batch"]["same"]
    assert found["batch"]["rows"] == 1200
    assert found["batch"]["left"] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray, where it is imported
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ray-workers", "2"], "--ray-workers is of --ray"),
        (["--ray", "local", "--warm"], "--warm is quick and needs no cluster"),
        (["--ray", "127.0.0.1:9"], "no Ray cluster answers there"),
    ],
)
def test_what_cannot_be_is_said(upnext: Any, trained: Path, tmp_path: Path, words: list[str], said: str) -> None:
    shutil.copytree(trained, tmp_path / "home")
    done = upnext("train", "--home", tmp_path / "home", *words)
    assert done.code == 2
    assert said in " ".join(done.err.split())
