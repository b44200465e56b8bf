"""A world on disk: the same bytes for the same seed, and the truth read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from upnext.errors import DataError
from upnext.simulation import SimulatedData, WorldConfig, load_truth, oracle_top, simulate, write_world
from upnext.simulation.world import ARRAYS


def test_the_truth_comes_back(data: SimulatedData, tmp_path: Path) -> None:
    write_world(data, tmp_path)
    truth = load_truth(tmp_path)
    assert truth.config == data.truth.config
    assert list(truth.title) == list(data.truth.title)
    assert truth.topic_names == data.truth.topic_names
    assert truth.author_names == data.truth.author_names
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(truth, name), getattr(data.truth, name))
    users, at = np.arange(5, dtype=np.int32), truth.config.end_at
    np.testing.assert_array_equal(oracle_top(truth, users, at, 3), oracle_top(data.truth, users, at, 3))
    assert pl.read_parquet(tmp_path / "events.parquet").equals(data.events)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    config = WorldConfig(items=150, users=20, impressions=200, days=2, topics=4, seed=5)
    for name in ("one", "two"):
        write_world(simulate(config), tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert {"events.parquet", "items.parquet", "users.parquet"} < {str(path) for path in files}
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path


def test_a_folder_without_a_world_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no simulated world.*upnext simulate") as refused:
        load_truth(tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_a_damaged_truth_is_named(data: SimulatedData, tmp_path: Path) -> None:
    write_world(data, tmp_path)
    (tmp_path / "truth" / "quality.npy").write_bytes(b"not an array")
    with pytest.raises(DataError, match="holds no simulated world"):
        load_truth(tmp_path)


def test_a_world_without_its_truth_is_what_a_home_imports_and_no_more(data: SimulatedData, tmp_path: Path) -> None:
    write_world(data, tmp_path / "world", with_truth=False)
    assert sorted(path.name for path in (tmp_path / "world").iterdir()) == [
        "events.parquet", "items.parquet", "users.parquet",
    ]  # fmt: skip
    with pytest.raises(DataError, match="holds no simulated world"):
        load_truth(tmp_path / "world")
