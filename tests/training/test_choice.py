from __future__ import annotations

import numpy as np

from upnext.ranking.tokens import Tokens
from upnext.training.choice import fit_choice
from upnext.training.choices import CHOICE_TASK
from upnext.training.ranker_fit import RankerData
from upnext.types import Candidates, Float32

NAMES = ("useful", "useless", "constant")
TRUTH = np.array([0.8, 0.0, 0.0])


def lists(number: int, rows: int, kept: int, seed: int = 0) -> RankerData:
    """Lists of ``rows`` candidates, one chosen by a softmax of TRUTH; of the others ``kept`` stand for all."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(number, rows, 3)).astype(np.float32)
    features[:, :, 2] = 7
    gumbel = features @ TRUTH + random.gumbel(size=(number, rows))
    chosen = gumbel.argmax(1)
    others = np.array([random.permutation(np.delete(np.arange(rows), place))[:kept] for place in chosen])
    order = np.concatenate([chosen[:, None], others], axis=1)
    table: Float32 = np.take_along_axis(features, order[:, :, None], 1).reshape(-1, 3)
    label = np.tile([1.0] + [0.0] * kept, number).astype(np.float32)
    stands_for = np.tile([1.0] + [(rows - 1) / kept] * kept, number).astype(np.float32)
    nobody = np.zeros(number, np.int32)
    empty = np.zeros((number, 0), np.float32)
    return RankerData(
        item=np.zeros(len(table), np.int32), offsets=np.arange(number + 1, dtype=np.int64) * (kept + 1),
        features=table, request_features=0, position=np.full(len(table), -1, np.int16), labels={CHOICE_TASK: label},
        history=Tokens(np.zeros((number, 0), np.int32), empty, empty, empty), user=nobody,
        attribute=np.zeros((number, 0), np.int32), surface=nobody, validation_from=number, stands_for=stands_for,
    )  # fmt: skip


def test_it_finds_the_softmax_by_which_items_were_chosen_from_a_sample_of_the_others() -> None:
    found = fit_choice(lists(4000, 60, 30), NAMES)
    assert abs(found.weights[0] * found.scale[0] / TRUTH[0] - 1) < 0.1
    assert abs(found.weights[1] * found.scale[1]) < 0.1


def test_it_tells_how_likely_each_of_a_new_list_is() -> None:
    model, fresh = fit_choice(lists(3000, 40, 20), NAMES), lists(1, 500, 499, seed=1)
    rows = Candidates(np.arange(500, dtype=np.int32), np.array([0, 500], np.int64)).with_features(fresh.features, NAMES)
    true = np.exp(fresh.features @ TRUTH)
    assert np.corrcoef(np.log(model(rows)), np.log(true / true.max()))[0, 1] > 0.98
