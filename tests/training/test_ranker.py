"""The ranker learns rules that are known, is calibrated, is not fooled by positions, and exports faithfully."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training import rankers
from tests.training.rankers import CLICK, FEATURES, LIKE, ROWS, SEEN, TOKENS, WATCH, examples, fit, logistic, predict
from upnext.content import moved_rows
from upnext.evaluation.metrics import auc, ece, xauc
from upnext.ranking.tokens import Tokens
from upnext.training import ranker
from upnext.training.calibration import platt
from upnext.training.progress import Silent
from upnext.training.ranker import continue_ranker
from upnext.training.ranker_fit import RankerData, RankerFit
from upnext.training.seconds import bin_of, seconds_edges
from upnext.training.weights import Weights
from upnext.types import Float32

TRAIN, TEST = 500, 500  # requests


def part(data: RankerData, first: int, last: int) -> RankerData:
    """Requests first .. last - 1."""
    rows, which = slice(first * ROWS, last * ROWS), slice(first, last)
    return RankerData(
        data.item[rows], data.offsets[first : last + 1] - first * ROWS, data.features[rows], 0, data.position[rows],
        {name: label[rows] for name, label in data.labels.items()},
        data.history.take(np.arange(first, last)), data.user[which], data.attribute[which], data.surface[which],
        int((last - first) * 0.8),
    )  # fmt: skip


def split(data: RankerData) -> tuple[RankerData, RankerData]:
    return part(data, 0, TRAIN), part(data, TRAIN, TRAIN + TEST)


def of_features(seed: int = 0) -> tuple[RankerData, RankerData]:
    """Clicks follow the first feature, likes the second, seconds the first: the others are noise."""
    random = np.random.default_rng(seed)
    features = random.normal(size=((TRAIN + TEST) * ROWS, FEATURES)).astype(np.float32) * [1, 30, 1, 1]
    click = random.random(len(features)) < logistic(4 * features[:, 0] - 1)
    like = random.random(len(features)) < logistic(0.1 * features[:, 1] - 2)
    seconds = np.where(click, random.exponential(20 * np.exp(np.clip(features[:, 0], -2, 2))), 0)
    labels = {"click": click, "like": like, "watch": np.minimum(seconds, 300)}
    return split(examples(features.astype(np.float32), {n: v.astype(np.float32) for n, v in labels.items()}))


@pytest.fixture(scope="module")
def learned() -> tuple[rankers.FittedRanker, RankerData]:
    train, test = of_features()
    return fit(train, {"click": CLICK, "like": LIKE, "watch": WATCH}), test


def test_a_rule_of_a_feature_is_learned(learned: tuple[rankers.FittedRanker, RankerData]) -> None:
    fitted, test = learned
    click, like, seconds, median = predict(fitted, test).T
    assert auc(test.labels["click"], click) > 0.9
    assert auc(test.labels["like"], like) > 0.9
    assert xauc(test.labels["watch"], seconds) > 0.75
    assert xauc(test.labels["watch"], median) > 0.7
    assert auc(test.labels["like"], click) < 0.6  # the heads are of their own
    assert fitted.curve[0].keys() >= {"epoch", "loss", "score", "click auc", "like auc", "watch xauc"}


def test_predictions_are_calibrated_on_what_was_not_seen(learned: tuple[rankers.FittedRanker, RankerData]) -> None:
    fitted, test = learned
    click, like, seconds, median = predict(fitted, test).T
    assert ece(test.labels["click"], click, bins=10) <= 0.03
    assert ece(test.labels["like"], like, bins=10) <= 0.03
    assert seconds.mean() == pytest.approx(test.labels["watch"].mean(), rel=0.15)
    assert 0.35 < (test.labels["watch"][median > 1] <= median[median > 1]).mean() < 0.65


def test_the_same_seed_gives_the_same_network() -> None:
    train, test = of_features()
    few = part(train, 0, 100)
    first, again, other = (predict(fit(few, {"click": CLICK}, seed, epochs=1), test) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_a_task_of_seconds_alone_can_be_learned() -> None:
    train, test = of_features()
    fitted = fit(train, {"watch": WATCH}, epochs=3)
    assert fitted.spec.columns == ("watch_seconds", "watch_seconds_median")
    assert xauc(test.labels["watch"], predict(fitted, test)[:, 0]) > 0.7


def test_a_candidate_that_is_in_the_history_is_recognised() -> None:
    random = np.random.default_rng(0)
    size = (3 * TRAIN + TEST) * ROWS
    features = random.normal(size=(size, FEATURES)).astype(np.float32)
    data = examples(features, {})
    batch = data.batch
    past = np.stack([random.permutation(SEEN)[:TOKENS] for _ in range(batch)]).astype(np.int32)
    nothing = np.zeros((batch, TOKENS), np.float32)
    owner = np.repeat(np.arange(batch), ROWS)
    known = (past[owner] == data.item[:, None]).any(axis=1)
    click = (random.random(size) < np.where(known, 0.9, 0.05)).astype(np.float32)
    data = replace(data, history=Tokens(past, nothing + 1, nothing, nothing), labels={"click": click})
    train, test = part(data, 0, 3 * TRAIN), part(data, 3 * TRAIN, batch)
    fitted = fit(train, {"click": CLICK}, epochs=12)
    assert auc(test.labels["click"], predict(fitted, test)[:, 0]) > 0.75
    shuffled = replace(test, history=test.history.take(random.permutation(test.batch)))
    assert auc(test.labels["click"], predict(fitted, shuffled)[:, 0]) < 0.6


def biased(seed: int = 0) -> tuple[RankerData, Float32]:
    """Clicks need an eye and an interest. The eye goes to the top; the old ranking put feature 1 on top.

    Returns the examples and each row's true relevance, which is a function of feature 0 alone.
    """
    random = np.random.default_rng(seed)
    size = (2 * TRAIN + TEST) * ROWS
    features = random.normal(size=(size, FEATURES)).astype(np.float32)
    old = (features[:, 1] + 0.5 * random.normal(size=size)).reshape(-1, ROWS)
    position = (-old).argsort(axis=1).argsort(axis=1).ravel().astype(np.int16)
    relevance = logistic(1.5 * features[:, 0] - 1)
    examined = 1 / (1.0 + position) ** 1.5
    click = random.random(size) < examined * relevance
    seconds = np.where(click, np.minimum(random.exponential(40, size), 300), 0)
    labels = {"click": click.astype(np.float32), "watch": seconds.astype(np.float32)}
    return examples(features, labels, position), relevance.astype(np.float32)


def test_positions_explain_clicks_in_training_and_are_gone_in_serving() -> None:
    data, relevance = biased()
    train, test = part(data, 0, 2 * TRAIN), part(data, 2 * TRAIN, data.batch)
    relevant = _ranks(relevance[2 * TRAIN * ROWS :])
    tasks = {"click": CLICK, "watch": WATCH}
    aware, blind = fit(train, tasks), fit(rankers.without_position(train), tasks)
    with_eyes, without = predict(aware, test), predict(blind, test)
    assert _slope(without[:, 0], test.features[:, 1]) > 0.5  # blind: what stood on top is taken to be good
    assert abs(_slope(with_eyes[:, 0], test.features[:, 1])) < 0.15
    for column in (0, 1):  # clicks and seconds
        by_relevance = [np.corrcoef(_ranks(found[:, column]), relevant)[0, 1] for found in (with_eyes, without)]
        assert by_relevance[0] > 0.9
        assert by_relevance[1] < 0.8
    np.testing.assert_array_equal(with_eyes, predict(aware, rankers.without_position(test)))
    assert with_eyes[:, 0].mean() == pytest.approx(test.labels["click"].mean(), rel=0.15)
    bias = aware.network.position_logits(torch.arange(-1, ROWS)).detach().numpy()
    assert (bias[0] == 0).all()  # where the position is unknown nothing is added
    assert (bias[1] > bias[2] + 0.5).all()
    assert (bias[2] > bias[4]).all()


def _slope(probability: Float32, feature: Float32) -> float:
    """How much the log odds rise with a feature."""
    return float(np.polyfit(feature, np.log(probability / (1 - probability)), 1)[0])


def _ranks(values: Float32) -> Float32:
    return values.argsort().argsort().astype(np.float32)


def test_rows_of_many_requests_score_as_each_request_does_alone() -> None:
    """Training runs whole batches (``row`` given), serving one request (``row`` None): the same numbers."""
    random = np.random.default_rng(0)
    network = rankers.random_ranker(("click", "like"), ("watch",)).network
    sizes = [3, 1, 7, 2]
    row = torch.from_numpy(np.repeat(np.arange(4), sizes))
    rows = len(row)

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.normal(size=shape).astype(np.float32))

    of_rows = (normal(rows, FEATURES - rankers.SHARED), normal(rows, 16))
    known = torch.from_numpy((random.random((4, TOKENS)) < 0.6).astype(np.float32))
    known[2] = 0
    of_requests = (
        normal(4, rankers.SHARED), normal(4, TOKENS, 16), known,
        torch.from_numpy(random.integers(0, 4, (4, TOKENS)).astype(np.float32)),
        normal(4, TOKENS), normal(4, TOKENS), torch.arange(4), torch.tensor([[1, 0], [2, 1], [0, 0], [2, 2]]),
        torch.tensor([0, 1, 2, 0]),
    )  # fmt: skip
    with torch.no_grad():
        together = network.logits(*of_rows, *of_requests, row)
        for request in range(4):
            one = [column[request : request + 1] for column in of_requests]
            slots = torch.nonzero(known[request]).ravel() if known[request].any() else torch.tensor([0])
            one[1:6] = [column[:, slots] for column in one[1:6]]  # serving leaves empty slots out
            alone = network.logits(*(column[row == request] for column in of_rows), *one, None)
            for mine, theirs in zip(together, alone, strict=True):
                np.testing.assert_allclose(mine[row == request].numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)


@given(st.lists(st.floats(0, 500, width=32), max_size=60), st.sampled_from([1.0, 37.5, 300.0, 3600.0]))
def test_every_number_of_seconds_has_its_bin(seconds: list[float], cap: float) -> None:
    values = np.minimum(np.array(seconds, np.float32), np.float32(cap))
    edges = seconds_edges(values, cap)
    assert edges.dtype == np.float32
    assert (edges[0], edges[-1]) == (0, np.float32(cap))
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= 33
    found = bin_of(values, edges)
    for value, place in zip(values, found, strict=True):
        assert edges[place] <= value
        assert value < edges[place + 1] or (value == edges[-1] and place == len(edges) - 2)
    assert (found[values == 0] == 0).all()


def test_bins_hold_about_the_same_number_of_watches() -> None:
    seconds = np.random.default_rng(0).exponential(40, 20_000).astype(np.float32)
    edges = seconds_edges(seconds, 3600)
    counts = np.bincount(bin_of(seconds, edges), minlength=len(edges) - 1)[1:]
    assert counts.min() > 0.8 * counts.mean()
    assert counts.max() < 1.25 * counts.mean()


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -1.0), (2.0, 1.5)])
def test_platt_finds_the_slope_and_the_offset(slope: float, offset: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 60_000).astype(np.float32)
    labels = (random.random(len(logits)) < logistic(slope * logits + offset)).astype(np.float32)
    found = platt(logits, labels)
    assert found == pytest.approx((slope, offset), abs=0.06)


def test_platt_stays_near_what_it_was_with_little_to_learn_from() -> None:
    assert platt(np.empty(0, np.float32), np.empty(0, np.float32)) == (1.0, 0.0)
    slope, offset = platt(np.array([-3, -2], np.float32), np.zeros(2, np.float32))
    assert 0.5 < slope < 1
    assert -0.5 < offset < 0.5


@pytest.mark.parametrize("shift", [-9, 8])
@pytest.mark.parametrize("spread", [1, 30, 500])
def test_platt_arrives_from_far_away_too(shift: float, spread: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(shift, spread, 2000).astype(np.float32)
    labels = (random.random(2000) < logistic((logits - shift) / spread - 2)).astype(np.float32)
    slope, offset = platt(logits, labels)
    assert logistic(slope * logits + offset).mean() == pytest.approx(labels.mean(), abs=0.01)
    assert slope == pytest.approx(1 / spread, rel=0.3)


def test_few_requests_do_not_break_training() -> None:
    train, _ = of_features()
    for requests in (1, 2, 5):
        few = part(train, 0, requests)
        few = replace(few, validation_from=max(few.validation_from, 1))
        fitted = fit(few, {"click": CLICK, "watch": WATCH}, epochs=2)
        assert np.isfinite(predict(fitted, part(train, 0, 2))).all()


def go_on(fitted: rankers.FittedRanker, data: RankerData | None, folder: Path, **how: object) -> rankers.FittedRanker:
    """One more pass over ``data`` from the weights of ``fitted``."""
    fitted.save(folder)
    words = rankers.vocabulary()
    start = Weights.load(folder, moved_rows(words, words))
    config = rankers.CONFIG.model_copy(update={"epochs": 1, **how})
    return continue_ranker(data, rankers.content(), words, fitted.spec, start, config, 0, Silent())


def test_going_on_learns_what_is_new_and_keeps_what_was(tmp_path: Path) -> None:
    train, test = of_features()
    short = fit(part(train, 0, 60), {"click": CLICK}, epochs=1)
    more = go_on(short, part(train, 60, TRAIN), tmp_path)
    assert [point["epoch"] for point in more.curve] == [0.0, 1.0]
    assert more.curve[1]["score"] > more.curve[0]["score"] + 0.02
    before, after = predict(short, test), predict(more, test)
    assert auc(test.labels["click"], after[:, 0]) > auc(test.labels["click"], before[:, 0]) + 0.02
    assert ece(test.labels["click"], after[:, 0], bins=10) <= 0.08
    assert more.spec == short.spec


def test_going_on_without_data_changes_no_prediction(
    learned: tuple[rankers.FittedRanker, RankerData], tmp_path: Path
) -> None:
    fitted, test = learned
    again = go_on(fitted, None, tmp_path)
    np.testing.assert_array_equal(predict(again, test), predict(fitted, test))
    assert again.curve == []


def test_a_pass_that_only_harms_is_not_kept(learned: tuple[rankers.FittedRanker, RankerData], tmp_path: Path) -> None:
    """Labels at random but for the validation slice: what was learned validates better, and stays."""
    fitted, test = learned
    random = np.random.default_rng(0)
    rows = int(test.offsets[test.validation_from])
    labels = {name: np.concatenate([random.permutation(label[:rows]), label[rows:]]) for name, label in
              test.labels.items()}  # fmt: skip
    again = go_on(fitted, replace(test, labels=labels), tmp_path, learning_rate=0.1)
    assert again.curve[1]["score"] < again.curve[0]["score"] - 0.02
    kept, mine = fitted.network.state_dict(), again.network.state_dict()
    np.testing.assert_array_equal(kept["of_row.weight"], mine["of_row.weight"])


def test_a_few_rows_hardly_move_a_calibration_that_is_gone_on_from(
    learned: tuple[rankers.FittedRanker, RankerData], tmp_path: Path
) -> None:
    fitted, test = learned
    few = replace(part(test, 0, 6), validation_from=3)
    none = {name: np.zeros_like(label) for name, label in few.labels.items()}  # nobody clicked, by chance
    again = go_on(fitted, replace(few, labels=none), tmp_path, learning_rate=1e-9)
    before, after = predict(fitted, test)[:, 0].mean(), predict(again, test)[:, 0].mean()
    assert 0.5 * before < after < before


def test_batches_hold_every_request_once_and_about_as_many_rows_as_asked() -> None:
    train, _ = of_features()
    fitted = rankers.random_ranker(("click",), ())
    config = rankers.CONFIG.model_copy(update={"batch_size": 50})
    made = RankerFit(train, fitted.content, fitted.spec, fitted.network, fitted.encoder, config, seed=0)
    batches = made._batches()
    assert sorted(np.concatenate(batches).tolist()) == list(range(train.validation_from))
    assert max(len(batch) * ROWS for batch in batches) <= 50 + ROWS


def test_lists_of_choices_are_judged_by_what_is_known_of_an_item_and_of_the_user_with_it(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    features = random.normal(size=(4_000, rankers.FEATURES)).astype(np.float32)
    chosen = np.zeros((500, rankers.ROWS), np.float32)
    chosen[:, 0] = 1
    # What is chosen is high in every feature; only that of the pair may be made use of.
    features.reshape(500, rankers.ROWS, -1)[:, 0] += 2
    data = rankers.examples(features, {"click": chosen.ravel()})
    data = replace(data, stands_for=np.ones(len(features), np.float32))
    features.reshape(500, rankers.ROWS, -1)[:, :, 3] = np.arange(500)[:, None]  # the same for all of a list: a clock
    names = ("author_click_7d", "pair_als", "user_mean_watch", "item_click_rate_1d")
    fitted = rankers.fit(data, {"click": rankers.CLICK}, names=names, dropout=0.5)

    def scores(changed: int | None) -> Float32:
        other = features.copy()
        if changed is not None:
            other[:, changed] = random.normal(size=len(other)) * 100
        return rankers.predict(fitted, replace(data, features=other))[:, 0]

    before = scores(None)
    assert (before.reshape(500, -1).argmax(axis=1) == 0).mean() > 0.6
    for place, name in enumerate(names):
        assert np.array_equal(scores(place), before) == (name != "pair_als"), name
    rankers.saved(fitted, tmp_path)  # refuses an export that scores otherwise


@pytest.mark.parametrize("in_order", [True, False])
def test_how_an_item_fares_counts_only_where_the_log_has_an_order(in_order: bool) -> None:
    random = np.random.default_rng(4)
    features = random.normal(size=(2_000, rankers.FEATURES)).astype(np.float32)
    lists = features.reshape(250, rankers.ROWS, -1)
    lists[:, 0, 2] += 3  # what is chosen had many visits
    chosen = np.zeros((250, rankers.ROWS), np.float32)
    chosen[:, 0] = 1
    data = rankers.examples(features, {"click": chosen.ravel()})
    data = replace(data, stands_for=np.ones(len(features), np.float32))
    names = ("pair_als", "same_author_acted", "item_log_positive_1d", "item_log_positive_14d")
    fitted = rankers.fit(data, {"click": rankers.CLICK}, names=names, in_order=in_order)
    found = rankers.predict(fitted, data)[:, 0].reshape(250, -1).argmax(axis=1) == 0
    assert (found.mean() > 0.6) == in_order


def test_without_an_order_features_are_weighed_and_no_more(tmp_path: Path) -> None:
    """However the lists bend it: of two features high alone or low together, a sum of them can say nothing."""
    random = np.random.default_rng(4)
    features = random.normal(size=(4_000, rankers.FEATURES)).astype(np.float32)
    chosen = np.zeros((500, rankers.ROWS), np.float32)
    chosen[:, 0] = 1
    lists = features.reshape(500, rankers.ROWS, -1)
    lists[:, 0, 0] += 1
    lists[:, 0, 2] = np.sign(lists[:, 0, 1]) * np.abs(lists[:, 0, 2])  # a network can see this
    data = replace(rankers.examples(features, {"click": chosen.ravel()}), stands_for=np.ones(4_000, np.float32))
    names = ("pair_als", "pair_two_tower", "pair_because_you_watched", "item_log_positive_1d")
    fitted = rankers.fit(data, {"click": rankers.CLICK}, names=names, in_order=False)
    found = rankers.predict(fitted, data)[:, 0].astype(np.float64)
    logit = np.log(found / (1 - found))
    design = np.column_stack([features[:, :3], np.ones(4_000)])
    weight, *_ = np.linalg.lstsq(design, logit, rcond=None)
    assert np.abs(design @ weight - logit).max() < 1e-3
    assert weight[0] > 5 * np.abs(weight[1:3]).max()
    rankers.saved(fitted, tmp_path)


def test_a_network_becomes_linear_exactly() -> None:
    random = np.random.default_rng(0)
    network = rankers.random_ranker(("click",), ()).network
    network.mean[:], network.scale[:] = torch.tensor([0.0, 1, -2, 0]), torch.tensor([1.0, 0.5, 2, 0])
    rows = 200
    features = torch.from_numpy(random.normal(scale=4, size=(rows, 3)).astype(np.float32))  # some are cut off
    of_request = (
        torch.ones(1, 1), torch.randn(1, 2, 16), torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2),
        torch.ones(1, 2), torch.tensor([1]), torch.tensor([[1, 2]]), torch.tensor([1]),
    )  # fmt: skip
    item = torch.randn(rows, 16)

    def logits() -> torch.Tensor:
        return network.logits(features, item, *of_request, None)[0][:, 0]

    normal = network.normal(features, slice(1, None))
    assert normal.abs().max() == 6
    network.become_linear(torch.tensor([2.0, -1.0, 7.0]))
    assert torch.allclose(logits(), normal @ torch.tensor([2.0, -1.0, 7.0]), atol=1e-4)


def test_how_much_of_a_feature_lies_within_lists() -> None:
    random = np.random.default_rng(4)
    size = random.integers(2, 9, 300)
    offsets = np.concatenate([[0], np.cumsum(size)])
    each = np.repeat(random.normal(size=300), size)
    features = np.stack([each, random.normal(size=len(each)), each + random.normal(size=len(each)), 0 * each + 11.3], 1)
    expected = [
        sum(((column[a:b] - column[a:b].mean()) ** 2).sum() for a, b in pairwise(offsets))
        / (len(column) * column.var())
        for column in features.T[:3]
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranker, "LISTS_AT_ONCE", 7)
        found = ranker._within_lists(features.astype(np.float32), offsets)
    np.testing.assert_allclose(found, [*expected, 0], rtol=1e-4, atol=1e-6)
