"""Whether the order of a log means anything is found out from the log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from upnext.candidates.because_you_watched import Reading
from upnext.config import BecauseYouWatchedConfig
from upnext.training import reading
from upnext.training.interactions import Interactions
from upnext.training.progress import Silent
from upnext.training.reading import SHRINKAGES, find_reading

CONFIG = BecauseYouWatchedConfig(shrinkage=2.0)
USERS, ITEMS, LENGTH = 600, 120, 12


def log(item: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Interactions:
    """Everybody's visits ``[U, T]``, at time = place: the last column is what is asked for since then."""
    users, length = item.shape
    user = np.tile(np.arange(users, dtype=np.int32), length)
    at = np.repeat(np.arange(length, dtype=np.int64), users)
    return Interactions(user, item.T.ravel().astype(np.int32), np.ones(len(user), np.float32), at, users, ITEMS)


def walks() -> Interactions:
    """Each item leads to the next one or the one after it; where a walk began says little of where it is."""
    random = np.random.default_rng(1)
    steps = random.integers(1, 3, (USERS, LENGTH))
    return log((random.integers(0, ITEMS, (USERS, 1)) + np.cumsum(steps, axis=1)) % ITEMS)


def tastes() -> Interactions:
    """Everybody likes 15 items, which come up six times as often as any other, in any order."""
    random = np.random.default_rng(2)
    liked = np.arange(ITEMS) // 15 == random.integers(0, ITEMS // 15, USERS)[:, None]
    return log(np.argsort(random.exponential(size=(USERS, ITEMS)) / np.where(liked, 6, 1), axis=1)[:, :LENGTH])


def found(interactions: Interactions, **settings: float | None) -> Reading:
    config = BecauseYouWatchedConfig.model_validate({**CONFIG.model_dump(), **settings})
    return find_reading(interactions, LENGTH - 1, config, 64, 0, Silent())


def test_where_one_thing_leads_to_another_the_latest_counts_and_steps_have_a_direction() -> None:
    assert found(walks()) == Reading(0.7, 5, 2.0)


def test_where_the_order_says_nothing_all_visits_count_alike() -> None:
    assert found(tastes()) == Reading(1.0, 0, 2.0)


def communities() -> Interactions:
    """Four of a kind go to six places of their own, and in between to six of the forty that everybody goes to."""
    random = np.random.default_rng(3)
    common = np.argsort(random.random((USERS, 40)), axis=1)[:, :6]
    own = 40 + np.argsort(random.random((USERS, 6)), axis=1) + 6 * (np.arange(USERS) // 4)[:, None]
    return replace(log(np.stack([common, own], axis=2).reshape(USERS, 12)), items=40 + 6 * USERS // 4)


def chance() -> Interactions:
    """Some places are known to many, and people go there whatever else they did; the rest is anybody's."""
    random = np.random.default_rng(4)
    known = random.exponential(size=(USERS, ITEMS)) * np.arange(1, ITEMS + 1)
    return log(np.argsort(known, axis=1)[:, :LENGTH])


def test_what_a_few_do_counts_where_they_go_on_to_do_it() -> None:
    assert found(communities(), shrinkage=None).shrinkage == min(SHRINKAGES)


def test_what_a_few_do_counts_little_where_all_go_where_everybody_goes() -> None:
    assert found(chance(), shrinkage=None).shrinkage == max(SHRINKAGES)


def test_what_is_configured_is_kept() -> None:
    assert found(tastes(), history_decay=0.9) == Reading(0.9, 5, 2.0)
    assert found(walks(), history_decay=1.0, window=0) == Reading(1.0, 0, 2.0)
    only = found(walks(), history_decay=1.0, window=0, shrinkage=None)
    assert (only.history_decay, only.window) == (1.0, 0)
    assert only.shrinkage in SHRINKAGES


def test_too_few_people_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FEWEST", USERS + 1)
    assert found(tastes()) == Reading(0.8, 5, 2.0)


def test_what_came_since_is_not_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same visits in the same order, the last of them moved among people: they are answers, not lessons."""
    fitted = []
    real = reading.fit_co_visitation

    def watched(interactions: Interactions, *rest: object) -> object:
        fitted.append(interactions)
        return real(interactions, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "fit_co_visitation", watched)
    found(tastes())
    assert len(fitted) == 2
    assert all(interactions.at.max() == LENGTH - 2 for interactions in fitted)
