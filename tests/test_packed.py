"""Packed strings and ids against lists and dictionaries."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upnext.ids import IdMap
from upnext.packed import LONGEST, PackedIds, Texts, _folded_letters

ids = st.lists(st.text(max_size=4))
# Few enough that words are found, of every length in bytes, with capitals, accents before and after, and strokes.
letters = st.text(st.sampled_from("aAbBzé\u0301\u0323ÉÄäöøØłßẞıİΣσςЖжがか漢Ａ𝐀😀ﬁ "), max_size=9)


@given(st.lists(st.dictionaries(st.integers(0, 30), st.text(max_size=9), max_size=9), max_size=6))
def test_texts_are_what_was_put_last(changes: list[dict[int, str]]) -> None:
    texts, expected = Texts(), list[str]()
    for change in changes:
        texts.put(np.array(list(change), np.int64), list(change.values()))
        expected += [""] * (max(change, default=-1) + 1 - len(expected))
        for row, text in change.items():
            expected[row] = text
    assert list(texts) == expected
    assert texts[1:] == expected[1:]
    assert texts.take(np.arange(len(expected))[::-1]) == expected[::-1]


def folded(text: str) -> str:
    """Letter by letter: small, without accents; what is left of a letter are several = the letter itself."""
    out = ""
    for letter in text:
        small = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", letter).casefold())
        plain = [part for part in small if not unicodedata.combining(part)]
        out += letter if len(plain) > 1 else "".join(plain)
    return out.translate(str.maketrans("øłđħŧı", "oldhti"))


@given(st.lists(letters, max_size=8), letters, st.integers(1, 9))
def test_a_search_is_of_folded_letters(texts: list[str], words: str, most: int) -> None:
    found, complete = Texts(texts).containing(words, most, 60.0)
    expected = [row for row, text in enumerate(texts) if folded(words) in folded(text)]
    assert found.tolist() == expected[:most]
    assert complete or len(expected) >= most


def test_a_folded_letter_is_folded() -> None:
    fold = _folded_letters()
    inside = fold[fold < len(fold)]
    np.testing.assert_array_equal(fold[inside], inside)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Amélie", "AMELIE"),
        ("Ame\u0301lie", "amélie"),
        ("Amelie", "Ame\u0301lie"),
        ("SØREN", "soren"),
        ("İstanbul", "istanbul"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσεύς"),
        ("Война и мир", "ВОЙНА"),
        ("東京物語", "物語"),
    ],
)
def test_case_and_accents_make_no_difference(text: str, words: str) -> None:
    assert Texts(["other", text]).containing(words, 9, 60.0)[0].tolist() == [1]


@pytest.mark.parametrize("row", [2, 99, -3])
def test_rows_that_are_not_there(row: int) -> None:
    with pytest.raises(IndexError):
        Texts(["a", "b"])[row]


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="Shorten it"):
        Texts(["short", "x" * (LONGEST + 1)])


@given(st.lists(ids, max_size=5), ids)
def test_packed_ids_are_an_id_map(parts: list[list[str]], asked: list[str]) -> None:
    packed, plain = PackedIds(), IdMap()
    for part in parts:
        packed.extend(part)
        plain.extend(part)
    assert list(packed.names) == list(plain.names)
    assert len(packed) == len(plain)
    everything = [*asked, *plain.names, "", "no such id"]
    np.testing.assert_array_equal(packed.encode(everything), plain.encode(everything))
    assert [id_ in packed for id_ in everything] == [id_ in plain for id_ in everything]
    assert packed.decode(packed.encode(list(plain.names))) == list(plain.names)


def test_many_ids_one_by_one_and_at_once() -> None:
    names = [f"item-{number}" for number in range(3000)]
    one_by_one, at_once = PackedIds(), PackedIds(names)
    for name in names:
        one_by_one.extend([name])
    for packed in (one_by_one, at_once):
        np.testing.assert_array_equal(packed.encode(names), np.arange(3000))
        assert packed.code("item-3000") == -1
        assert 7 not in packed


@pytest.mark.parametrize("code", [-1, 1, 99])
def test_codes_never_given_have_no_id(code: int) -> None:
    with pytest.raises(IndexError):
        PackedIds(["a"]).decode([code])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids, ids)
def test_what_is_loaded_goes_on_as_if_it_had_never_been_saved(
    tmp_path: Path, first: list[str], more: list[str]
) -> None:
    packed = PackedIds(first)
    packed.save(tmp_path, "ids", len(packed))
    again = PackedIds.load(tmp_path, "ids", len(packed))
    packed.extend(more)
    again.extend(more)
    assert list(again.names) == list(packed.names)
    everything = [*first, *more]
    np.testing.assert_array_equal(again.encode(everything), packed.encode(everything))
    once_more = Texts.load(tmp_path, "ids", len(set(first)))
    assert list(once_more) == list(dict.fromkeys(first))  # what came later is not in the file


def test_saving_leaves_behind_what_was_replaced(tmp_path: Path) -> None:
    texts = Texts(["a long text that will be replaced", "b"])
    texts.put(np.array([0]), ["a"])
    texts.save(tmp_path, "title", 2)
    again = Texts.load(tmp_path, "title", 2)
    assert list(again) == ["a", "b"]
    assert bytes(np.load(tmp_path / "title_bytes.npy")[:3]) == b"ab\0"
