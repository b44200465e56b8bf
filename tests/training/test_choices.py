"""Examples where the log has no impressions: what was chosen next, among what the sources would have proposed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from upnext.build import SOURCES_FOLDER, load_sources
from upnext.config import Config
from upnext.features.replay import Replay
from upnext.live import Live
from upnext.storage.sqlite import SQLiteLog
from upnext.training.choices import CHOICE_TASK, FOREMOST, Chosen, from_choices
from upnext.training.co_visitation import fit_co_visitation
from upnext.training.data import TrainingData
from upnext.training.examples import Examples
from upnext.training.progress import Silent
from upnext.types import Events, Int64

START, MINUTE = 1_700_000_000_000, 60_000
USERS, ITEMS, EVENTS = 12, 40, 600
CONFIG = Config.model_validate(
    {
        "features": {"history_size": 3},  # so that most of what was seen is out of the history's reach
        "ranking": {"candidates_per_event": 6, "history_size": 3},
        "candidates": {"trending": {"quota": 30}, "because_you_watched": {"quota": 20}},
    }
)


def frame(seed: int) -> pl.DataFrame:
    """People walk up the catalogue, three steps at most at a time, and sometimes come back to an item."""
    random = np.random.default_rng(seed)
    place, rows = random.integers(0, ITEMS, USERS), []
    for n in range(EVENTS):
        user = int(random.integers(0, USERS))
        place[user] = (place[user] + random.integers(-2, 4)) % ITEMS
        seconds = float(random.choice([3.0, 40.0]))
        rows.append((f"u{user}", f"i{place[user]}", START + n * MINUTE, seconds))
    columns = ["user_id", "item_id", "happened_at", "value"]
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(event_type=pl.lit("watch"))


class World:
    """A log, the sources fitted on its first half, and examples of the second."""

    def __init__(self, directory: Path, seed: int = 0) -> None:
        self.log = SQLiteLog(directory / "log.db")
        self.log.append_events(frame(seed))
        self.directory = directory
        whole = TrainingData.read(Live(self.log, CONFIG, events=False), None)
        self.events = whole.events
        half = int(self.events.received_at[EVENTS // 2])
        fitted = fit_co_visitation(whole.interactions(half)[0], CONFIG.candidates.because_you_watched, Silent())
        fitted.save(directory / SOURCES_FOLDER / "because_you_watched")
        rows = whole.positive_rows(self.events)
        self.rows = rows[rows >= EVENTS // 2]

    def examples(self, events: Events | None = None, rows: Int64 | None = None, seed: int = 0) -> Examples:
        events, live = self.events if events is None else events, Live(self.log, CONFIG, events=False)
        replay = Replay(CONFIG.features, live.roles, live.catalogue, events)
        sources = load_sources(CONFIG, live, self.directory)
        rows = self.rows if rows is None else rows
        return from_choices(live, replay, events, rows, sources, CONFIG, seed, Silent())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("choices"))


@pytest.fixture(scope="module")
def examples(world: World) -> Examples:
    return world.examples()


def requests(examples: Examples) -> list[tuple[int, int, list[int], list[float]]]:
    """(user, now, items, labels) of each."""
    moments, label = examples.moments, examples.labels[CHOICE_TASK]
    spans = [slice(a, b) for a, b in zip(moments.offsets[:-1], moments.offsets[1:], strict=True)]
    return [
        (int(user), int(now), moments.item[span].tolist(), label[span].tolist())
        for user, now, span in zip(moments.user, moments.now, spans, strict=True)
    ]


def test_each_request_is_the_chosen_item_and_others(world: World, examples: Examples) -> None:
    assert len(examples.moments.user) > 60
    chosen = {
        (int(world.events.user[row]), int(world.events.received_at[row])): int(world.events.item[row])
        for row in world.rows
    }
    for user, now, items, labels in requests(examples):
        assert items[0] == chosen[user, now]
        assert labels == [1.0] + [0.0] * (len(items) - 1)
        assert len(set(items)) == len(items) <= CONFIG.ranking.candidates_per_event
    assert np.mean([len(items) for _, _, items, _ in requests(examples)]) > 3
    assert (examples.position == -1).all()
    assert set(examples.labels) == {CHOICE_TASK}


def test_rows_stand_for_all_the_candidates(examples: Examples) -> None:
    """The chosen item and those that the sources put first for themselves, the others for the rest, all alike."""
    assert examples.stands_for is not None
    first = int(FOREMOST * (CONFIG.ranking.candidates_per_event - 1))
    for start, end in zip(examples.moments.offsets[:-1], examples.moments.offsets[1:], strict=True):
        stands_for = examples.stands_for[start:end]
        assert (stands_for[: 1 + first] == 1).all()
        assert (stands_for >= 1).all()
        assert len(np.unique(stands_for[1 + first :])) <= 1
    assert examples.stands_for.max() > 1


def test_nothing_that_was_seen_is_in_an_example(world: World, examples: Examples) -> None:
    """As in serving, where the filter removes it: however long ago it was, and whether or not it was liked."""
    events = world.events
    for user, now, items, _ in requests(examples):
        before = (events.user == user) & (events.received_at < now)
        liked = before & ~(events.value < 10)
        assert items[0] not in events.item[liked]
        assert not set(items[1:]) & set(events.item[before].tolist())


def test_a_moment_knows_what_came_before_it(world: World, examples: Examples) -> None:
    moments = examples.moments
    assert (np.diff(moments.now) > 0).all()
    np.testing.assert_array_equal(moments.cut, np.searchsorted(world.events.received_at, moments.now))


@pytest.mark.parametrize("last", [EVENTS - 1, EVENTS // 2 + 100])
def test_deleting_what_came_later_changes_nothing(world: World, examples: Examples, last: int) -> None:
    shorter = world.examples(world.events.take(slice(0, last)), world.rows[world.rows < last])
    size = len(shorter.moments.user)
    assert 10 < size <= len(examples.moments.user)
    for name in ("user", "now", "cut"):
        np.testing.assert_array_equal(getattr(shorter.moments, name), getattr(examples.moments, name)[:size])
    np.testing.assert_array_equal(shorter.moments.item, examples.moments.item[: len(shorter)])


def test_the_seed_decides_the_others_and_nothing_else(world: World, examples: Examples) -> None:
    again, other = world.examples(), world.examples(seed=1)
    np.testing.assert_array_equal(again.moments.item, examples.moments.item)
    np.testing.assert_array_equal(other.moments.now, examples.moments.now)
    assert not np.array_equal(other.moments.item, examples.moments.item)


def test_no_more_rows_than_allowed(world: World) -> None:
    few = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"max_examples": 100})})
    live = Live(world.log, few, events=False)
    replay = Replay(few.features, live.roles, live.catalogue, world.events)
    sources = load_sources(few, live, world.directory)
    found = from_choices(live, replay, world.events, world.rows, sources, few, 0, Silent())
    assert 0 < len(found) <= 100


def test_without_a_choice_there_are_no_examples(world: World) -> None:
    found = world.examples(rows=np.empty(0, np.int64))
    assert len(found) == 0
    assert found.moments.offsets.tolist() == [0]


def test_where_the_watched_is_shown_again_repeats_teach_too(world: World, examples: Examples) -> None:
    again = Config.model_validate({**CONFIG.model_dump(), "reranking": {"filters": {"watched": False}}})
    live = Live(world.log, again, events=False)
    replay = Replay(again.features, live.roles, live.catalogue, world.events)
    sources = load_sources(again, live, world.directory)
    found = from_choices(live, replay, world.events, world.rows, sources, again, 0, Silent())
    assert len(found.moments.user) > 2 * len(examples.moments.user)
    repeats = sum(
        items[0] in world.events.item[(world.events.user == user) & (world.events.received_at < now)]
        for user, now, items, _ in requests(found)
    )
    assert repeats > 50


def test_a_choice_is_of_the_moment_at_which_its_slate_was_asked_for(tmp_path: Path) -> None:
    """Several acts on one impression are one choice, which knows nothing of having been shown; others are their own."""
    log = SQLiteLog(tmp_path / "log.db")
    rows = [
        ("impression", "u0", "i0", 10, "r1"),
        ("impression", "u0", "i1", 10, "r1"),
        ("click", "u0", "i1", 20, "r1"),
        ("like", "u0", "i1", 30, "r1"),
        ("click", "u0", "i5", 40, None),  # nobody showed it
        ("impression", "u1", "i1", 50, None),
        ("watch", "u1", "i1", 60, None),  # of the latest impression
    ]
    columns = ["event_type", "user_id", "item_id", "happened_at", "recommendation_id"]
    frame = pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        happened_at=START + pl.col("happened_at") * MINUTE, value=pl.when(pl.col("event_type") == "watch").then(60.0)
    )
    log.append_events(frame)
    live = Live(log, CONFIG, events=False)
    found = Chosen.of(live.all_events(), live.roles, np.array([2, 3, 4, 6]))
    item = {name: code for code, name in enumerate(log.ids("item"))}
    assert found.item.tolist() == [item["i1"], item["i5"], item["i1"]]
    assert ((found.now - START) // MINUTE).tolist() == [10, 40, 50]
    assert found.cut.tolist() == [0, 4, 5]
