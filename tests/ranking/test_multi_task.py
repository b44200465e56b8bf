"""The served ranker over the real exported files: the same numbers as the network, for one request or many."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.training import rankers
from tests.training.rankers import ACTIONS, ITEMS, NAMES, TOKENS
from upnext.errors import ArtifactError
from upnext.ranking.item_vectors import ItemVectors
from upnext.ranking.multi_task import (
    ITEM_VECTORS_FILE,
    SCORER_FILE,
    SPEC_FILE,
    MultiTask,
    RankerSpec,
    open_session,
)
from upnext.ranking.tokens import tokens
from upnext.stages import Ranker
from upnext.training.ranker import FittedRanker, RankerData
from upnext.types import Candidates, Column, History, Int32, Ragged, Requests

NOW = 1_700_000_000_000
EVENTS = ["impression", "click", "watch", "like"]
CODES = {"user": 3, "attribute": 2, "surface": 1}


def user_inputs(requests: Requests) -> dict[str, Int32]:
    user = np.maximum(requests.user, -1) + 1
    return {"user": user % 6, "attribute": np.stack([user % 3, user % 2], axis=1), "surface": user % 3}


def asked(batch: int, seed: int = 0) -> Requests:
    random = np.random.default_rng(seed)
    acted = History(
        random.integers(0, ITEMS + 5, (batch, 12)).astype(np.int32),
        random.integers(0, len(EVENTS), (batch, 12)).astype(np.int16),
        NOW - np.sort(random.integers(0, 10**9, (batch, 12)))[:, ::-1],
        random.uniform(0, 99, (batch, 12)).astype(np.float32),
    )
    acted.item[0] = -1  # somebody without a history
    return Requests(
        np.arange(batch, dtype=np.int32) - 1, np.full(batch, NOW), np.zeros(batch, np.int16), 5,
        acted, History.empty(batch, 3), Ragged.empty(batch), Ragged.empty(batch),
    )  # fmt: skip


def table(sizes: list[int], seed: int = 0, items: int = ITEMS) -> Candidates:
    random = np.random.default_rng(seed)
    rows = sum(sizes)
    features = random.normal(size=(rows, len(NAMES))).astype(np.float32)
    offsets = np.cumsum([0, *sizes])
    for start, stop in pairwise(offsets):
        features[start:stop, : rankers.SHARED] = features[start : start + 1, : rankers.SHARED]
    return Candidates(random.integers(0, items, rows).astype(np.int32), offsets).with_features(features, NAMES)


def load(directory: Path) -> MultiTask:
    spec = RankerSpec.load(directory)
    vectors = ItemVectors.load(directory)
    return MultiTask(spec, open_session(directory / SCORER_FILE), vectors, user_inputs, lambda: EVENTS)


@pytest.fixture(scope="module")
def fitted() -> FittedRanker:
    return rankers.random_ranker(("click", "like"), ("watch",))


@pytest.fixture(scope="module")
def folder(fitted: FittedRanker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rankers.saved(fitted, tmp_path_factory.mktemp("ranker"))


@pytest.fixture(scope="module")
def ranker(folder: Path) -> MultiTask:
    return load(folder)


def test_the_served_numbers_are_those_of_the_network(ranker: MultiTask, fitted: FittedRanker) -> None:
    assert isinstance(ranker, Ranker)
    requests, rows = asked(5), table([3, 40, 0, 7, 1])
    requests.acted.item[:] = np.minimum(requests.acted.item, ITEMS - 1)
    found = ranker(requests, rows)
    assert tuple(found) == ("p_click", "p_like", "watch_seconds", "watch_seconds_median") == fitted.spec.columns
    assert rows.features is not None
    data = RankerData(
        item=rows.item, offsets=rows.offsets, features=rows.features, request_features=rankers.SHARED,
        position=np.zeros(len(rows), np.int16), labels={},
        history=tokens(requests.acted, requests.now, fitted.spec.action_bits(EVENTS), TOKENS), validation_from=0,
        **user_inputs(requests),
    )  # fmt: skip
    expected = rankers.predict(fitted, data)
    np.testing.assert_allclose(np.stack([*found.values()], axis=1), expected, rtol=1e-3, atol=1e-4)
    assert expected.std(axis=0).min() > 1e-3


def test_a_batch_gets_the_answers_of_its_requests_one_by_one(ranker: MultiTask) -> None:
    requests, rows = asked(4), table([5, 1, 0, 30])
    together = ranker(requests, rows)
    for request in range(4):
        alone = ranker(requests.take(request), rows.of_request(request))
        span = slice(rows.offsets[request], rows.offsets[request + 1])
        for name, column in together.items():
            np.testing.assert_allclose(column[span], alone[name], rtol=1e-5, atol=1e-6)


def test_what_it_reads_changes_what_it_says(ranker: MultiTask) -> None:
    def predicted(**last: float) -> Column:
        requests = asked(2)
        for name, value in {"item": 4, "event": EVENTS.index("click"), "at": NOW, "value": 5.0, **last}.items():
            (requests.user if name == "user" else getattr(requests.acted, name)[:, -1])[1] = value
        return ranker(requests, table([0, 9]))["p_click"]

    plain = predicted()
    for name, value in {"item": 3, "event": EVENTS.index("like"), "at": NOW - 10**12, "value": 9e4, "user": 3}.items():
        assert np.abs(predicted(**{name: value}) - plain).max() > 1e-6, name


def test_probabilities_and_seconds_are_within_their_bounds(ranker: MultiTask) -> None:
    found = ranker(asked(3), table([200, 200, 200]))
    for name in ("p_click", "p_like"):
        assert ((found[name] >= 0) & (found[name] <= 1)).all()
    for name in ("watch_seconds", "watch_seconds_median"):
        assert ((found[name] >= 0) & (found[name] <= 300)).all()


def test_items_that_were_never_embedded_score_as_unknown(ranker: MultiTask) -> None:
    rows = table([6])
    rows.item[:] = [ITEMS + 100, ITEMS + 7, 10**6, -1, ITEMS + 100, -1]
    assert rows.features is not None
    rows.features[:] = 0.5
    found = ranker(asked(1), rows)["p_click"]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, found[0], rtol=1e-5)


def test_a_new_item_is_embedded_from_its_content(folder: Path, fitted: FittedRanker) -> None:
    vectors = ItemVectors.load(folder)
    everything = np.arange(ITEMS + 3)
    before = vectors()[everything]
    more = rankers.content(ITEMS + 3)
    codes = np.array([ITEMS + 2, 4], np.int32)
    vectors.upsert(codes, more.take(codes).columns())
    assert len(vectors()) == ITEMS + 3
    again = vectors()[everything]
    assert np.abs(again[ITEMS + 2]).max() > 0
    assert (again[ITEMS] == 0).all()  # made room for, never embedded
    np.testing.assert_allclose(again[0], before[0])
    vectors.upsert(codes[:0], more.take(codes[:0]).columns())
    vectors.upsert(np.arange(ITEMS, dtype=np.int32), fitted.content.columns())
    np.testing.assert_allclose(vectors()[everything[:ITEMS]], before[:ITEMS], atol=1e-3)
    np.testing.assert_array_equal(vectors()[everything[ITEMS:]], again[ITEMS:])


@pytest.mark.parametrize(("binary", "seconds"), [(("click",), ()), ((), ("watch", "listen"))])
def test_any_mixture_of_tasks_is_exported(tmp_path: Path, binary: tuple[str, ...], seconds: tuple[str, ...]) -> None:
    made = rankers.random_ranker(binary, seconds)
    found = load(rankers.saved(made, tmp_path / "deep" / "folder"))(asked(2), table([4, 4]))
    assert len(found) == len(binary) + 2 * len(seconds)
    assert all(np.isfinite(column).all() and len(column) == 8 for column in found.values())


def test_action_bits_go_by_name_not_by_code(fitted: FittedRanker) -> None:
    bits = fitted.spec.action_bits(["like", "new", "click"])
    assert bits[:4].tolist() == [ACTIONS.index("like"), -1, ACTIONS.index("click"), -1]


def test_other_features_are_refused(ranker: MultiTask) -> None:
    rows = table([4])
    assert rows.features is not None
    for odd in (
        Candidates(rows.item, rows.offsets),
        Candidates(rows.item, rows.offsets).with_features(rows.features, NAMES[::-1]),
    ):
        with pytest.raises(ArtifactError, match="trained on other features than it is given; train again"):
            ranker(asked(1), odd)


def test_a_version_that_read_the_features_otherwise_says_train_again(fitted: FittedRanker, tmp_path: Path) -> None:
    rankers.saved(fitted, tmp_path)
    stored = json.loads((tmp_path / SPEC_FILE).read_text())
    del stored["request_features"]
    (tmp_path / SPEC_FILE).write_text(json.dumps(stored))
    with pytest.raises(ArtifactError, match=r"request_features.*Train again"):
        RankerSpec.load(tmp_path)


def test_missing_and_damaged_files_say_train_again(fitted: FittedRanker, tmp_path: Path) -> None:
    rankers.saved(fitted, tmp_path)
    for file, content in ((SPEC_FILE, b"{}"), (SCORER_FILE, b"no model"), (ITEM_VECTORS_FILE, b"no array")):
        whole = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(content)
        with pytest.raises(ArtifactError, match="Train again"):
            load(tmp_path)
        (tmp_path / file).unlink()
        with pytest.raises(ArtifactError, match="Train again"):
            load(tmp_path)
        (tmp_path / file).write_bytes(whole)
    assert load(tmp_path).spec == fitted.spec
