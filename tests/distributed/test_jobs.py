"""What a job's files say is what was written into them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.candidates import towers
from tests.training import rankers
from upnext.distributed.jobs import Job, both, content_of, joined, requests_frame, requests_of, visits_frame, visits_of
from upnext.training.sequences import Sequences, sequences
from upnext.types import Float32


def same(mine: Any, theirs: Any) -> None:
    for name in type(theirs).__slots__:
        one, other = getattr(mine, name), getattr(theirs, name)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, name)


def test_visits_come_back_as_they_were() -> None:
    seen = sequences(towers.world()[0])
    rows = np.arange(len(seen))
    same(visits_of(visits_frame(seen, rows)), seen)
    some = rows[seen.user % 3 == 1]
    found = visits_of(visits_frame(seen, some))
    np.testing.assert_array_equal(found.item, seen.item[some])
    assert set(np.diff(np.flatnonzero(found.start == np.arange(len(found)))).tolist()) == {towers.STEPS}


def test_a_user_who_is_in_both_has_two_sequences() -> None:
    seen = sequences(towers.world()[0])
    rows = np.flatnonzero(seen.user < 5)
    one = visits_of(visits_frame(seen, rows))
    joint: Sequences = both(seen, one)
    assert len(joint) == len(seen) + len(one)
    np.testing.assert_array_equal(joint.item[len(seen) :], one.item)
    assert (joint.start[len(seen) :] >= len(seen)).all()


@pytest.mark.parametrize("lists", [False, True])
def test_requests_come_back_as_they_were(lists: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    features: Float32 = random.normal(size=(160, rankers.FEATURES)).astype(np.float32)
    labels = {name: random.random(160).astype(np.float32) for name in ("click", "watch")}
    data = rankers.examples(features, labels)
    data = replace(data, stands_for=np.arange(160, dtype=np.float32) if lists else None)
    job = Job(tmp_path)
    job.write(requests_frame(data, slice(0, data.validation_from)), 3)
    parts = [pl.read_parquet(path) for path in sorted(job.examples.iterdir())]
    assert len(parts) == 3
    train = requests_of(pl.concat([requests_frame(data, slice(0, data.validation_from))]), 0)
    rest = requests_of(requests_frame(data, slice(data.validation_from, data.batch)), 0)
    same(joined(train, rest), data)
    assert sum(map(len, parts)) == data.validation_from
    assert (joined(train, rest).stands_for is None) == (not lists)
    for name, label in data.labels.items():
        np.testing.assert_array_equal(joined(train, rest).labels[name], label)


def test_a_job_tells_its_workers_all_that_they_need(tmp_path: Path) -> None:
    _, content, words, attributes = towers.world()
    job = Job(tmp_path)
    job.tell({"attributes": attributes}, {"seed": 3}, content, words)
    assert job.told() == {"seed": 3}
    np.testing.assert_array_equal(job.rest()["attributes"], attributes)
    for name, column in content.columns().items():
        np.testing.assert_array_equal(content_of(job.rest()).columns()[name], column)
