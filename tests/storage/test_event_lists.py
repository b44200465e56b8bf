"""Events as lists: whatever comes as columns is what it would be as a frame, or is refused as that would be."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.errors import DataError
from upnext.storage.event_lists import EventLists, event_lists
from upnext.storage.log import EVENT_SCHEMA, REQUIRED_EVENT

TEXT = st.text(st.characters(codec="utf-8"), max_size=4)
VALUES = {
    pl.String(): TEXT,
    pl.Int64(): st.one_of(st.integers(-3, 40_000), st.integers(-(2**64), 2**64)),
    pl.Float64(): st.floats(),
}
ODD = st.one_of(TEXT, st.integers(-(2**64), 2**64), st.floats(), st.booleans(), st.binary(max_size=2), st.lists(TEXT))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[object]]:
    """Mostly good columns of one length; now and then one lacks, has a null, is of another type or is misspelt."""
    size = draw(st.integers(0, 4))
    names = draw(st.sets(st.sampled_from(sorted(EVENT_SCHEMA)))) | set(REQUIRED_EVENT)
    odd = draw(st.sampled_from([None, None, None, *sorted(names)]))
    table: dict[str, list[object]] = {}
    for name in sorted(names):
        value: st.SearchStrategy[object] = ODD if name == odd else VALUES[EVENT_SCHEMA[name]]
        if name == "position" and draw(st.booleans()):
            value = st.integers(0, 32_767)
        if name not in REQUIRED_EVENT or name == odd:
            value = st.one_of(st.none(), value)
        table[name] = draw(st.lists(value, min_size=size, max_size=size))
    if draw(st.integers(0, 15)) == 0:
        table["positon"] = table.pop(draw(st.sampled_from(sorted(names))))
    return table


def outcome(events: pl.DataFrame | dict[str, list[object]]) -> EventLists | str:
    try:
        return event_lists(events)
    except DataError as error:
        return str(error)


@given(tables())
@settings(max_examples=400)
def test_columns_become_what_their_frame_becomes(table: dict[str, list[object]]) -> None:
    try:
        frame = pl.DataFrame(table)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        with pytest.raises(DataError):  # what is no frame may not be columns either
            event_lists(table)
        return
    # repr tells 1 from 1.0 and True, and one NaN is like another
    assert repr(outcome(table)) == repr(outcome(frame))


@pytest.mark.parametrize("columns", [{}, {"event_type": ["click"]}])
def test_columns_without_what_is_required_are_refused(columns: dict[str, Sequence[object]]) -> None:
    with pytest.raises(DataError, match="is missing"):
        event_lists(columns)
