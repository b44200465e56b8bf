from __future__ import annotations

from dataclasses import replace

import numpy as np

from upnext.candidates.als import ALS
from upnext.config import ALSConfig
from upnext.testing.source_contract import requests_of, scores_of
from upnext.training.als import confidence, fit_als
from upnext.training.interactions import Interactions
from upnext.training.progress import Silent

USERS, ITEMS = 40, 30
CONFIG = ALSConfig(embedding_size=2, regularization=0.5, alpha=10.0, epochs=8)


def checkerboard(missing: int = 1) -> Interactions:
    """Even users like all even items, odd users all odd ones, but each for ``missing`` items yet to come."""
    user, item = np.nonzero(np.add.outer(np.arange(USERS), np.arange(ITEMS)) % 2 == 0)
    held_out = (item // 2 - user // 2) % (ITEMS // 2) < missing
    users, items = user[~held_out].astype(np.int32), item[~held_out].astype(np.int32)
    at = np.arange(len(users), dtype=np.int64)
    return Interactions(users, items, np.ones(len(users), np.float32), at, USERS, ITEMS)


def test_fills_in_the_checkerboard() -> None:
    interactions = checkerboard()
    source = ALS(fit_als(interactions, CONFIG, 0, 1, Silent()), np.ones(1, np.float32), np.full(1, -np.inf, np.float32))
    histories = [interactions.item[interactions.user == user].tolist() for user in range(USERS)]
    found = source(requests_of(histories), 1)
    expected = [(user % 2 + 2 * (user // 2)) % ITEMS for user in range(USERS)]
    np.testing.assert_array_equal(found.item, expected)
    assert scores_of(found).min() > 0.5


def test_seed_decides_everything() -> None:
    one, same, other = (fit_als(checkerboard(), CONFIG, seed, 2, Silent()).item for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_going_on_from_factors_needs_fewer_sweeps() -> None:
    """Two sweeps from the factors of before end near where many sweeps from nothing do; two from nothing do not."""
    interactions, few = checkerboard(), CONFIG.model_copy(update={"epochs": 2})
    ended = fit_als(interactions, CONFIG.model_copy(update={"epochs": 200}), 0, 1, Silent())
    known = replace(ended, item=ended.item[: ITEMS - 4], codes=ended.codes[: ITEMS - 4])
    on = fit_als(interactions, few, 5, 1, Silent(), known).item
    anew = fit_als(interactions, few, 5, 1, Silent()).item
    distance = [np.abs(found @ found.T - ended.item @ ended.item.T).max() for found in (on, anew)]
    assert distance[0] < 0.2 * distance[1]
    assert (np.abs(on).sum(axis=1) > 0).all()  # also those that were not there before


def test_new_users_of_new_items_alone_get_factors() -> None:
    old = checkerboard()
    user, item = np.append(old.user, [USERS, USERS]), np.append(old.item, [ITEMS, ITEMS + 1])
    ones = np.ones(len(user), np.float32)
    later = Interactions(user.astype(np.int32), item.astype(np.int32), ones, np.arange(len(user)), USERS + 1, ITEMS + 2)
    factors = fit_als(later, CONFIG, 0, 1, Silent(), fit_als(old, CONFIG, 0, 1, Silent())).item
    assert (np.abs(factors[ITEMS:]).sum(axis=1) > 0).all()


def test_an_item_without_events_has_no_factors() -> None:
    interactions = checkerboard()
    kept = interactions.item != 7
    columns = (interactions.user, interactions.item, interactions.weight, interactions.at)
    user, item, weight, at = (column[kept] for column in columns)
    fewer = Interactions(user, item, weight, at, USERS, ITEMS)
    factors = fit_als(fewer, CONFIG, 0, 1, Silent())
    np.testing.assert_array_equal(factors.codes, np.delete(np.arange(ITEMS), 7))
    assert factors.item.shape == (ITEMS - 1, 2)
    assert (np.abs(factors.item).sum(axis=1) > 0).all()


def test_confidence_sums_the_weights_of_a_pair() -> None:
    interactions = Interactions(
        np.array([0, 0, 1], np.int32),
        np.array([2, 2, 0], np.int32),
        np.array([1, 2, 0.5], np.float32),
        np.arange(3),
        2,
        3,
    )
    np.testing.assert_array_equal(confidence(interactions, 10.0).toarray(), [[0, 0, 31], [6, 0, 0]])
