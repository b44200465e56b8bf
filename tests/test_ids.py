"""External ids and their codes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.ids import IdMap

ids = st.lists(st.text(max_size=4))


def test_codes_are_positions() -> None:
    names = IdMap(["b", "a"])
    names.extend(["a", "c", "b", "d"])
    assert len(names) == 4
    assert [names.code(name) for name in "abcd"] == [1, 0, 2, 3]
    assert names.decode([3, 0]) == ["d", "b"]
    assert "c" in names
    assert "z" not in names
    assert 3 not in names


def test_unknown_ids_are_minus_one() -> None:
    names = IdMap(["a"])
    codes = names.encode(["x", "a", ""])
    assert codes.tolist() == [-1, 0, -1]
    assert codes.dtype == np.int32
    assert names.code("x") == -1
    assert names.encode([]).dtype == np.int32


@pytest.mark.parametrize("code", [-1, 1, 99])
def test_codes_never_given_have_no_id(code: int) -> None:
    with pytest.raises(IndexError):
        IdMap(["a"]).decode([code])


@given(ids, ids)
def test_a_code_once_given_stays(first: list[str], later: list[str]) -> None:
    names = IdMap(first)
    before = {name: names.code(name) for name in first}
    names.extend(later)
    assert {name: names.code(name) for name in first} == before
    assert sorted(names.code(name) for name in {*first, *later}) == list(range(len(names)))


@given(ids)
def test_encode_and_decode_are_inverse(given_ids: list[str]) -> None:
    names = IdMap(given_ids)
    assert names.decode(names.encode(given_ids)) == given_ids
