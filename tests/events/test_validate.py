"""Every rule rejects what it should, with the place and the reason, and keeps the rest."""

import datetime as dt
import json
import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.errors import DataError
from upnext.events.columns import boolean, texts
from upnext.events.impressions import explode_items
from upnext.events.schema import LINE
from upnext.events.times import time
from upnext.events.validate import validate
from upnext.storage.log import EVENT_SCHEMA

TYPES = ["impression", "click", "watch"]
NOON = 1_650_000_000_000


def events(**columns: list[object]) -> pl.DataFrame:
    size = len(next(iter(columns.values())))
    base: dict[str, list[object]] = {
        "event_type": ["click"] * size,
        "user_id": [f"u{n}" for n in range(size)],
        "item_id": ["i"] * size,
        "happened_at": [NOON] * size,
    }
    return pl.DataFrame({**base, **columns, LINE: list(range(2, size + 2))}, strict=False)


def reasons(kind: str, frame: pl.DataFrame) -> list[tuple[int, str, str | None, str]]:
    checked = validate(kind, frame, "f.csv", TYPES)  # type: ignore[arg-type]
    assert len(checked.good) + len(checked.rejects) == len(frame)
    assert checked.rejects["file"].unique().to_list() in ([], ["f.csv"])
    return checked.rejects.select("line", "column", "value", "reason").rows()


# -- each rule


@pytest.mark.parametrize(
    ("column", "good", "bad", "reason"),
    [
        ("user_id", "u", "", "missing"),
        ("user_id", "u", None, "missing"),
        ("user_id", "u", " \t ", "blank"),
        ("item_id", "é" * 512, "é" * 513, "longer than 512"),
        ("event_id", "e", "x" * 513, "longer than 512"),
        ("event_type", "watch", "wacth", "did you mean 'watch'"),
        ("event_type", "watch", "zzz", "known are click, impression, watch"),
        ("value", "1e3", "many", "not a number"),
        ("value", 0.0, math.nan, "not finite"),
        ("value", -1.5, -math.inf, "not finite"),
        ("value", 3e38, 1e39, "too large"),
        ("position", 0, -1, "below 0"),
        ("position", "7", "1.5", "whole"),
        ("position", 32_767, 32_768, "above 32767"),
        ("happened_at", NOON, None, "missing"),
        ("happened_at", str(NOON), "yesterday", "no time"),
        ("happened_at", NOON, -1, "before 1970"),
        ("happened_at", NOON, NOON * 1000, "microseconds"),
        ("happened_at", float(NOON), math.inf, "not finite"),
        ("received_at", "2022-01-01", "2022-13-01", "no time"),
        ("context", '{"a": 1}', "{a: 1}", "JSON object"),
        ("context", "{}", "[1]", "JSON object"),
    ],
)
def test_event_rules(column: str, good: object, bad: object, reason: str) -> None:
    found = reasons("events", events(**{column: [good, bad]}))
    assert len(found) == 1
    line, named, value, said = found[0]
    assert (line, named) == (3, column)
    assert value == (None if bad is None else str(bad)[:200])
    assert reason in said


@pytest.mark.parametrize(
    ("column", "good", "bad", "reason"),
    [
        ("duration", 0.5, 0.0, "not above 0"),
        ("duration", 1, -3, "not above 0"),
        ("published_at", "1999-12-31", "1899-12-31", "before 1970"),
        ("available", "yes", "maybe", "neither"),
        ("categories", '["a"]', "[a", "JSON list"),
        ("vector", [1.0, 2.0], [1.0], "has 1 numbers, the first vector has 2"),
        ("vector", [1.0, 2.0], [1.0, math.nan], "not finite"),
        ("vector", [1.0, 2.0], [None, 1.0], "missing or not finite"),
        ("vector", [1.0, 2.0], [], "has 0 numbers"),
        ("vector", "[1, 2]", "1 2", "not a list"),
        ("attributes", None, "no", "JSON object"),
    ],
)
def test_item_rules(column: str, good: object, bad: object, reason: str) -> None:
    frame = pl.DataFrame({"item_id": ["a", "b"], column: [good, bad], LINE: [2, 3]}, strict=False)
    found = reasons("items", frame)
    assert [row[:2] for row in found] == [(3, column)]
    assert reason in found[0][3]


def test_the_first_failing_column_is_the_reason() -> None:
    frame = events(user_id=["", "u"], value=["x", "y"], position=[-1, 0])
    assert [row[:2] for row in reasons("events", frame)] == [(2, "user_id"), (3, "value")]


def test_good_rows_have_canonical_types() -> None:
    frame = events(value=[1, 2], position=["3", ""], session_id=["", "s"]).with_columns(user_id=pl.Series([7.0, 8.0]))
    good = validate("events", frame, "f", TYPES).good
    assert {name: EVENT_SCHEMA[name] for name in good.columns} == dict(good.schema)
    assert good.select("user_id", "value", "position", "session_id").rows() == [
        ("7", 1.0, 3, None),
        ("8", 2.0, None, "s"),
    ]


def test_vectors_keep_the_length_of_earlier_batches() -> None:
    frame = pl.DataFrame({"item_id": ["a"], "vector": [[1.0, 2.0]], LINE: [1]})
    assert len(validate("items", frame, "f", TYPES, vector_size=2).good) == 1
    assert len(validate("items", frame, "f", TYPES, vector_size=3).rejects) == 1


def test_users() -> None:
    frame = pl.DataFrame(
        {"user_id": ["a", "b"], "attributes": [{"age": 3}, None], "blocked_authors": ["x|y", None], LINE: [1, 2]}
    )
    good = validate("users", frame, "f", TYPES).good
    assert json.loads(good["attributes"][0]) == {"age": 3}
    assert good["attributes"][1] is None
    assert good["blocked_authors"].to_list() == [["x", "y"], None]


@pytest.mark.parametrize("missing", ["user_id", "item_id", "event_type", "happened_at"])
def test_a_missing_column_is_named(missing: str) -> None:
    with pytest.raises(DataError, match=rf"f\.csv.*'{missing}'.*found are"):
        validate("events", events(value=[1]).drop(missing), "f.csv", TYPES)


@pytest.mark.parametrize("column", ["user_id", "value", "happened_at"])
def test_a_column_of_lists_is_refused(column: str) -> None:
    frame = events(value=[1]).with_columns(pl.Series(column, [[1, 2]]))
    with pytest.raises(DataError, match=rf"f\.csv: column '{column}' holds List"):
        validate("events", frame, "f.csv", TYPES)


def test_empty_and_all_null_columns() -> None:
    assert validate("events", events(value=[1]).head(0), "f", TYPES).good.is_empty()
    good = validate("events", events(value=[None], context=[None], position=[None]), "f", TYPES).good
    assert good.select("value", "context", "position").rows() == [(None, None, None)]


# -- times

ISO = [
    ("2022-04-15T05:20:00Z", NOON),
    ("2022-04-15 05:20:00", NOON),
    ("2022-04-15T05:20", NOON),
    ("2022-04-15T05:20:00.250+00:00", NOON + 250),
    ("2022-04-15T07:20:00+02:00", NOON),
    ("2022-04-15T07:20+0200", NOON),
    ("2022-04-15T07:20:00+02", NOON),
    ("2022-04-15T00:20:00-05:00", NOON),
    ("2022-04-15", NOON - 19_200_000),
    ("1650000000", NOON),
    (" 1650000000000 ", NOON),
    ("1650000000.5", NOON + 500),
]


def test_times_in_one_column_may_mix_their_forms() -> None:
    parsed = time(pl.Series([text for text, _ in ISO]))
    assert parsed.values.to_list() == [milliseconds for _, milliseconds in ISO]
    assert parsed.problems == []


@pytest.mark.parametrize(("text", "milliseconds"), ISO)
def test_each_form_alone(text: str, milliseconds: int) -> None:
    assert time(pl.Series([text])).values.to_list() == [milliseconds]


def test_times_of_other_types() -> None:
    moment = dt.datetime(2022, 4, 15, 5, 20, tzinfo=dt.UTC)
    tokyo = pl.Series([moment]).dt.convert_time_zone("Asia/Tokyo")
    assert time(tokyo).values.to_list() == [NOON]
    assert time(pl.Series([moment.replace(tzinfo=None)])).values.to_list() == [NOON]
    assert time(pl.Series([dt.date(1970, 1, 2)])).values.to_list() == [86_400_000]
    assert time(pl.Series([NOON, NOON // 1000, None])).values.to_list() == [NOON, NOON, None]
    assert time(pl.Series([NOON // 1000], dtype=pl.UInt32)).values.to_list() == [NOON]


@given(st.datetimes(dt.datetime(1970, 6, 1), dt.datetime(2199, 1, 1)))
@settings(max_examples=200)
def test_every_moment_reads_the_same_in_every_form(moment: dt.datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=dt.UTC)
    milliseconds = round(moment.timestamp() * 1000)
    for form in (milliseconds, str(milliseconds), moment.isoformat(), moment):
        assert time(pl.Series([form])).values.to_list() == [milliseconds]
    assert time(pl.Series([milliseconds // 1000])).values.to_list() == [milliseconds // 1000 * 1000]


# -- lists and booleans


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (["drama| comedy |", "one", "", None], [["drama", "comedy"], ["one"], None, None]),
        (['["a|b", 3]', "c|d"], [["a|b", "3"], ["c", "d"]]),
        ([["a", "", None], None, []], [["a"], None, []]),
        ([[1, 2]], [["1", "2"]]),
    ],
)
def test_lists(raw: list[object], expected: list[object]) -> None:
    parsed = texts(pl.Series("categories", raw))
    assert parsed.values.to_list() == expected
    assert parsed.problems == []


def test_booleans() -> None:
    assert boolean(pl.Series([1, 0, None])).values.to_list() == [True, False, None]
    assert boolean(pl.Series(["TRUE", " no ", "", "0"])).values.to_list() == [True, False, None, False]
    assert boolean(pl.Series([True, None])).values.to_list() == [True, None]


# -- impressions with items


def test_an_impression_with_items_becomes_one_an_item() -> None:
    frame = pl.DataFrame(
        {
            "event_id": ["e", "f"],
            "event_type": ["impression", "click"],
            "user_id": ["u", "v"],
            "item_id": [None, "z"],
            "happened_at": [NOON, NOON + 1],
            "recommendation_id": ["r", None],
            "items": [["a", "b"], None],
            LINE: [1, 2],
        }
    )
    good = validate("events", frame, "f", TYPES).good
    assert good.select("event_id", "event_type", "item_id", "position", "recommendation_id").rows() == [
        ("e#0", "impression", "a", 0, "r"),
        ("e#1", "impression", "b", 1, "r"),
        ("f", "click", "z", None, None),
    ]


@pytest.mark.parametrize(
    "items", [["a", "b"], "a|b", '["a", "b"]', '[{"id": "a"}, {"item_id": "b"}]', [{"id": "a"}, {"id": "b"}]]
)
def test_an_outcome_with_what_was_shown(items: object) -> None:
    frame = events(value=[5.0, 6.0]).with_columns(pl.Series("items", [items, None]), item_id=pl.Series(["b", "c"]))
    exploded = explode_items(frame)
    assert exploded.select("event_type", "item_id", "position", "value").rows() == [
        ("impression", "a", 0, None),
        ("impression", "b", 1, None),
        ("click", "b", None, 5.0),
        ("click", "c", None, 6.0),
    ]
    assert exploded["recommendation_id"].to_list() == [f"u0@{NOON}"] * 3 + [None]


def test_bad_shown_items_are_rejected_with_their_line() -> None:
    frame = events(items=[["a", "", None]], event_type=["impression"]).drop("item_id")
    found = reasons_of_exploded(frame)
    assert found == [(2, "item_id"), (2, "item_id")]


def reasons_of_exploded(frame: pl.DataFrame) -> list[tuple[int, str]]:
    checked = validate("events", frame, "f", TYPES)
    assert checked.good["item_id"].to_list() == ["a"]
    return checked.rejects.select("line", "column").rows()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["click", "nope", None]),
            st.text("aé \t", max_size=3),
            st.sampled_from([NOON, -5, None]),
            st.floats(allow_nan=True),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=60)
def test_no_row_is_lost(rows: list[tuple[str | None, str, int | None, float]]) -> None:
    types, users, times, values = zip(*rows, strict=True)
    frame = events(event_type=list(types), user_id=list(users), happened_at=list(times), value=list(values))
    checked = validate("events", frame, "f", TYPES)
    bad = [
        line
        for line, (kind, user, at, value) in enumerate(rows, 2)
        if kind != "click" or not user.strip() or at != NOON or not math.isfinite(value) or abs(value) > 3.4028234e38
    ]
    assert checked.rejects["line"].to_list() == bad
    assert len(checked.good) == len(rows) - len(bad)
