from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.because_you_watched import IN_ORDER, READING_FILE, BecauseYouWatched, CoVisitation, Reading
from upnext.errors import ArtifactError
from upnext.stages import Source
from upnext.testing.source_contract import PairScorerContract, requests_of
from upnext.types import Candidates, Float64, Requests

ITEMS = 40
WEIGHT, LEAST = np.array([1, -1], np.float32), np.array([-np.inf, -np.inf], np.float32)
DECAY = IN_ORDER.history_decay


def similarities() -> Float64:
    """Each item has some random neighbours, never itself; item 39 has none."""
    random = np.random.default_rng(5)
    dense = random.uniform(0.01, 0.5, (ITEMS, ITEMS)) * (random.uniform(size=(ITEMS, ITEMS)) < 0.2)
    np.fill_diagonal(dense, 0)
    dense[39] = 0
    return dense


def neighbours() -> CoVisitation:
    dense = similarities()
    row, column = np.nonzero(dense)
    indptr = np.searchsorted(row, np.arange(ITEMS + 1)).astype(np.int64)
    return CoVisitation(indptr, column.astype(np.int32), dense[row, column].astype(np.float32))


class TestBecauseYouWatched(PairScorerContract):
    items = ITEMS

    def make_source(self) -> Source:
        return BecauseYouWatched(neighbours(), WEIGHT, LEAST)

    def make_requests(self) -> Requests:
        return requests_of([[1, 2, 3], [7], [], [39], [30, 31, 30, 30, 9], list(range(16))])


class TestNeighboursAsTheyAreKept(TestBecauseYouWatched):
    """The same contract where the arrays are of other types and may not be written to."""

    def make_source(self) -> Source:
        made = neighbours()
        arrays = made.indptr.astype(np.int32), made.indices, made.data
        for array in arrays:
            array.setflags(write=False)
        return BecauseYouWatched(CoVisitation(*arrays), WEIGHT, LEAST)  # type: ignore[arg-type]


@given(st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=12), min_size=1, max_size=5))
def test_score_is_the_decayed_sum(histories: list[list[int]]) -> None:
    everything = Candidates(
        np.tile(np.arange(ITEMS, dtype=np.int32), len(histories)), np.arange(len(histories) + 1, dtype=np.int64) * ITEMS
    )
    found = BecauseYouWatched(neighbours(), WEIGHT, LEAST).score(requests_of(histories), everything)
    dense, expected = similarities(), np.zeros((len(histories), ITEMS))
    for row, history in enumerate(histories):
        visits = [item for n, item in enumerate(history) if history[n + 1 : n + 2] != [item]]
        for steps_back, item in enumerate(reversed(visits)):
            expected[row] += DECAY**steps_back * dense[item]
    np.testing.assert_allclose(found.reshape(len(histories), ITEMS), np.log1p(100 * expected), rtol=1e-4, atol=1e-5)


@given(st.lists(st.integers(0, ITEMS - 1), max_size=12), st.lists(st.integers(0, ITEMS - 1), unique=True, max_size=6))
def test_names_the_visit_that_speaks_most(history: list[int], items: list[int]) -> None:
    found = BecauseYouWatched(neighbours(), WEIGHT, LEAST).because(requests_of([history]), np.asarray(items, np.int32))
    visits = [item for n, item in enumerate(history) if history[n + 1 : n + 2] != [item]]
    dense = similarities()
    for item, because in zip(items, found.tolist(), strict=True):
        spoken = [DECAY ** (len(visits) - 1 - n) * dense[visit][item] for n, visit in enumerate(visits)]
        if because < 0:
            assert not any(spoken)
        else:
            best = max(value for value, visit in zip(spoken, visits, strict=True) if visit == because)
            assert best == pytest.approx(max(spoken), rel=1e-5)
            assert best > 0


def test_disliked_items_are_no_reason() -> None:
    source, requests = BecauseYouWatched(neighbours(), WEIGHT, LEAST), requests_of([[4, 5]])
    requests.acted.event[0, -1] = 1
    fond = source(requests_of([[4]]), ITEMS)
    np.testing.assert_array_equal(source(requests, ITEMS).item, fond.item[fond.item != 5])


def test_anchors_are_the_history_and_are_not_proposed() -> None:
    source, dense = BecauseYouWatched(neighbours(), WEIGHT, LEAST), similarities()
    requests = replace(requests_of([[1, 2, 3]], anchors=[[8]]), allow_watched=True)
    found = source(requests, ITEMS)
    order = np.argsort(-dense[8], kind="stable")
    np.testing.assert_array_equal(found.item, order[dense[8][order] > 0])


def test_old_visits_beyond_the_last_percent_are_left_out() -> None:
    source = BecauseYouWatched(replace(neighbours(), reading=Reading(0.1, 5)), WEIGHT, LEAST)
    everything = Candidates(np.arange(ITEMS, dtype=np.int32), np.array([0, ITEMS], np.int64))
    long, short = (source.score(requests_of([history]), everything) for history in ([9, 1, 2, 3], [1, 2, 3]))
    np.testing.assert_array_equal(long, short)


def test_saves_and_loads(tmp_path: Path) -> None:
    neighbours().save(tmp_path / "model")
    loaded = CoVisitation.load(tmp_path / "model")
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(neighbours(), name))


def test_names_what_is_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="upnext train"):
        CoVisitation.load(tmp_path)
    neighbours().save(tmp_path)
    np.save(tmp_path / "co_visitation_data.npy", np.ones(3, np.float32))
    with pytest.raises(ArtifactError, match="do not belong together"):
        CoVisitation.load(tmp_path)


def test_how_histories_are_read_is_kept_with_the_neighbours(tmp_path: Path) -> None:
    replace(neighbours(), reading=Reading(0.9, 0, 5.0)).save(tmp_path)
    assert CoVisitation.load(tmp_path).reading == Reading(0.9, 0, 5.0)
    (tmp_path / READING_FILE).unlink()  # made by an earlier version
    assert CoVisitation.load(tmp_path).reading == IN_ORDER
    (tmp_path / READING_FILE).write_text('{"history_decay": 0.9, "window": 0}', encoding="utf-8")
    assert CoVisitation.load(tmp_path).reading == Reading(0.9, 0, IN_ORDER.shrinkage)
    for nonsense in ('{"window": "far"}', "[]", '"far"', '{"history_decay": 1, "window": 0, "shrinkage": []}'):
        (tmp_path / READING_FILE).write_text(nonsense, encoding="utf-8")
        with pytest.raises(ArtifactError, match="upnext train"):
            CoVisitation.load(tmp_path)
