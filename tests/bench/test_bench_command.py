"""``upnext bench`` as it is typed, from nothing to a file of figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from upnext.home import Home


def upnext(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "upnext", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def test_a_home_is_made_and_measured_with_one_command(tmp_path: Path) -> None:
    file, home = tmp_path / "figures.json", tmp_path / "home"
    size = ("--items", "100000", "--users", "1000", "--impressions", "40000")
    brief = ("--requests", "50", "--seconds", "0.5", "--set", "candidates.two_tower.epochs=2")
    done = upnext("bench", "--home", home, *size, *brief, "--json", file)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "100,000 items, 1,000 users, 40,000 impressions" in done.stdout
    found = json.loads(file.read_text())
    assert (found["items"], found["users"], found["impressions"]) == (100_000, 1000, 40_000)
    assert 0 < found["light"]["p50 ms"] <= found["light"]["p99 ms"] < 5000
    assert found["light"]["failed"] == 0
    assert found["inside the server"]["p50 ms"] <= found["light"]["p50 ms"]
    assert {"ranking: multi_task", "candidates: two_tower", "candidates: als"} <= found["stages"].keys()
    assert 500 <= found["candidates ranked, median"] <= 1000
    assert found["rates"][0]["asked/s"] == pytest.approx(0.4 * 1000 / found["light"]["p50 ms"])
    assert found["kernels"]["recall@1000"] >= 0.98
    assert found["kernels"]["slate overlap@10"] >= 0.95
    assert found["kernels"]["search"]["p50 ms"] + found["kernels"]["ranker"]["p50 ms"] < found["light"]["p99 ms"]
    assert 100 < found["resident MB"] < 4000
    assert 0 < found["cold start s"] < 120
    assert 0 < found["from the log s"] < 120
    assert {"ALS", "ranker", "item vectors", "item index"} <= {name for name, _ in found["training s"]}
    assert set(found["commands"]) == {"simulate", "init", "import", "train"}
    assert found["commands"]["init"]["peak MB"] < found["commands"]["train"]["peak MB"]
    _, manifest = Home.open(home).models().open()
    assert sum(size for name, size in found["disk bytes"].items() if name.startswith("model")) == manifest.bytes
    assert not (home / "world").exists()
    refused = upnext("bench", "--home", home, *size[:-1], "50000")
    assert refused.returncode == 2
    assert "40,000 impressions, asked for are 100,000, 1,000 and 50,000" in refused.stderr.replace("\n", " ")
