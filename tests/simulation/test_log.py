"""The log that a world leaves: its shape, its order, its biases."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.simulation import SimulatedData, WorldConfig, describe, simulate
from upnext.simulation.describe import auc, gini
from upnext.simulation.world import DAY_MS
from upnext.storage.log import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA

KEY = ["recommendation_id", "item_id"]


def of_type(events: pl.DataFrame, name: str) -> pl.DataFrame:
    return events.filter(pl.col("event_type") == name)


def test_frames_have_the_canonical_columns(data: SimulatedData) -> None:
    assert dict(data.items.schema) == ITEM_SCHEMA
    assert dict(data.users.schema) == USER_SCHEMA
    assert dict(data.events.schema) == EVENT_SCHEMA
    assert data.items.height == data.items["item_id"].n_unique() == 2000
    assert data.users.height == data.users["user_id"].n_unique() == 800
    known = {"impression", "click", "watch", "like", "share"}
    assert set(data.events["event_type"].unique()) == known
    attributes = data.users["attributes"].str.json_decode(
        pl.Struct({name: pl.String() for name in ("age_group", "country", "device", "interest")})
    )
    assert attributes.struct.unnest().null_count().sum_horizontal().item() == 0


def test_rows_of_the_frames_are_rows_of_the_truth(data: SimulatedData) -> None:
    assert data.items["item_id"].to_list()[17] == "i17"
    np.testing.assert_array_equal(data.items["published_at"].to_numpy(), data.truth.published_at)
    np.testing.assert_array_equal(data.items["duration"].to_numpy(), data.truth.duration)
    topic = data.truth.item_topic.reshape(2000, 8, -1).sum(axis=2).argmax(axis=1)
    assert data.items["categories"].list.first().to_list() == [data.truth.topic_names[n] for n in topic]
    assert data.items["categories"].list.len().is_between(1, 3).all()


def check_log(data: SimulatedData) -> None:
    """What must hold of the log of any world."""
    config, events = data.truth.config, data.events
    shown = of_type(events, "impression")
    whole_slates = -(-config.impressions // config.slate_size) * config.slate_size
    assert 0 < shown.height <= whole_slates
    assert shown.filter(pl.struct("user_id", "item_id").is_duplicated()).is_empty()  # nothing is shown twice
    assert shown.filter(pl.struct("recommendation_id", "position").is_duplicated()).is_empty()
    assert shown["position"].is_between(0, config.slate_size - 1).all()
    assert events["happened_at"].is_sorted()
    assert events["happened_at"].equals(events["received_at"], check_names=False)
    published = shown.join(data.items.select("item_id", "published_at"), on="item_id", validate="m:1")
    assert (published["published_at"] <= published["happened_at"]).all()
    check_outcomes(data, shown)


def check_outcomes(data: SimulatedData, shown: pl.DataFrame) -> None:
    """Impression < click < end of the watch < like < share, of one user, item, position and session."""
    before, context = shown, ["user_id", "position", "session_id", "surface"]
    for name in ("click", "watch", "like", "share"):
        outcome = of_type(data.events, name)
        assert outcome.filter(pl.struct(KEY).is_duplicated()).is_empty()
        earlier = before if name != "share" else of_type(data.events, "click")
        joined = outcome.join(earlier, on=KEY, suffix="_before", validate="1:1")
        assert joined.height == outcome.height
        assert (joined["happened_at"] > joined["happened_at_before"]).all()
        for column in context:
            assert joined[column].equals(joined[f"{column}_before"], check_names=False)
        if name != "like":
            before = outcome
    watches = of_type(data.events, "watch").join(data.items.select("item_id", "duration"), on="item_id")
    assert watches.height == of_type(data.events, "click").height
    assert (watches["value"] > 0).all()
    assert (watches["value"] <= watches["duration"] + 1.0).all()
    assert data.events.filter(pl.col("event_type") != "watch")["value"].null_count() == (
        data.events.height - watches.height
    )


def test_the_log_is_in_order(data: SimulatedData) -> None:
    assert of_type(data.events, "impression").height == data.truth.config.impressions
    check_log(data)


@given(
    items=st.integers(10, 200),
    users=st.integers(1, 40),
    slate_size=st.integers(1, 10),
    days=st.integers(1, 4),
    topics=st.integers(2, 30),
    drift=st.floats(0, 1),
    seed=st.integers(0, 2**40),
    share=st.floats(0.01, 1),
)
@settings(max_examples=15)
def test_the_log_of_any_small_world_is_in_order(
    items: int, users: int, slate_size: int, days: int, topics: int, drift: float, seed: int, share: float
) -> None:
    impressions = max(1, int(share * items * users / 10))
    check_log(
        simulate(
            WorldConfig(
                items=items,
                users=users,
                impressions=impressions,
                days=days,
                seed=seed,
                slate_size=slate_size,
                topics=topics,
                drift=drift,
            )
        )
    )


def test_same_seed_same_log() -> None:
    config = WorldConfig(items=200, users=30, impressions=500, days=2, topics=5, seed=9)
    one, same = simulate(config), simulate(config)
    assert one.events.equals(same.events)
    assert one.items.equals(same.items)
    assert one.users.equals(same.users)
    assert not one.events.equals(simulate(WorldConfig(200, 30, 500, 2, 10, topics=5)).events)


def test_position_bias_in_the_log_is_the_known_curve(data: SimulatedData) -> None:
    facts = describe(data)
    np.testing.assert_allclose(facts["examination_measured"], facts["examination"], rtol=0.12)


def test_clicks_fall_with_the_position_at_equal_utility(data: SimulatedData) -> None:
    shown = of_type(data.events, "impression")
    clicks = of_type(data.events, "click")
    rate = np.bincount(clicks["position"], minlength=10) / np.bincount(shown["position"])
    assert rate[0] > 2 * rate[9]


def test_popularity_is_zipf_like(data: SimulatedData) -> None:
    for name, least, steepest in (("impression", 0.4, -0.4), ("click", 0.6, -0.5)):
        counts = of_type(data.events, name)["item_id"].value_counts(sort=True)["count"].to_numpy()
        counts = np.pad(counts, (0, 2000 - len(counts)))
        assert gini(counts) > least
        head = slice(5, 400)
        log_rank = np.log(np.arange(1, 2001))[head]
        fit = np.corrcoef(log_rank, np.log(counts[head]))[0, 1]
        assert np.polyfit(log_rank, np.log(counts[head]), 1)[0] < steepest
        assert fit < -0.95  # a straight line in log-log


def test_activity_is_heavy_tailed_and_some_users_come_late(data: SimulatedData) -> None:
    shown = of_type(data.events, "impression")
    counts = shown["user_id"].value_counts(sort=True)["count"].to_numpy()
    assert counts[:80].sum() > 0.25 * counts.sum()
    assert counts.max() > 5 * np.median(counts)
    late = np.flatnonzero(data.truth.arrived_at > data.truth.config.start_at)
    assert 0.05 < len(late) / 800 < 0.15
    first = shown.group_by("user_id").agg(pl.col("happened_at").min())
    rows = first["user_id"].str.slice(1).cast(pl.Int32).to_numpy()
    assert (first["happened_at"].to_numpy() >= data.truth.arrived_at[rows]).all()


def test_evenings_are_busier_than_nights_and_every_day_has_traffic(data: SimulatedData) -> None:
    passed = of_type(data.events, "impression")["happened_at"].to_numpy() - data.truth.config.start_at
    hour = np.bincount(passed % DAY_MS // 3_600_000, minlength=24)
    assert hour[19:22].sum() > 3 * hour[7:10].sum()
    assert np.bincount(passed // DAY_MS)[:6].min() > 0.08 * len(passed)


def test_the_log_can_teach(data: SimulatedData) -> None:
    """Clicks are frequent enough, predictable from the truth, and personal choice is worth much."""
    facts = describe(data)
    assert 0.08 < facts["click_rate"] < 0.25
    for task in ("click", "like", "share"):
        assert facts[f"auc_{task}"] > 0.8
    assert facts["oracle_click_rate"] > 2 * facts["popularity_click_rate"]
    assert facts["oracle_value"] > 3 * facts["popularity_value"]
    assert 0 < facts["users_never_seen"] < 200
    assert facts["items_never_shown"] > 0


def test_clicks_are_as_likely_as_the_truth_says(data: SimulatedData) -> None:
    clicks = of_type(data.events, "click")
    user = clicks["user_id"].str.slice(1).cast(pl.Int32).to_numpy()
    item = clicks["item_id"].str.slice(1).cast(pl.Int32).to_numpy()
    at = of_type(data.events, "impression").join(clicks, on=KEY, maintain_order="right")["happened_at"].to_numpy()
    world = data.truth
    utility = world.utility(user, item[:, None], at)[:, 0]
    seconds = of_type(data.events, "watch").join(clicks, on=KEY, maintain_order="right")["value"].to_numpy()
    assert seconds.mean() == pytest.approx(world.expected_watch(utility, item).mean(), rel=0.03)
    for name, chance in (("like", world.p_like), ("share", world.p_share)):
        assert of_type(data.events, name).height == pytest.approx(chance(utility, item).sum(), rel=0.07)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    score = np.array([row[0] for row in rows], float)
    label = np.array([row[1] for row in rows])
    pairs = [(s > t) + 0.5 * (s == t) for s in score[label] for t in score[~label]]
    if pairs:
        assert auc(score, label) == pytest.approx(np.mean(pairs))
    else:
        assert np.isnan(auc(score, label))


def test_gini_of_known_cases() -> None:
    assert gini(np.array([4, 4, 4, 4])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.zeros(3, np.int64)) == 0
