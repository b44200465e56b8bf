from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.content import (
    ATTRIBUTES,
    TITLE_WORDS,
    Vocabulary,
    build_vocabulary,
    duration_bucket,
    encode_items,
    encode_surfaces,
    encode_users,
    grow_vocabulary,
    moved_rows,
    place_users,
)
from upnext.errors import ArtifactError, DataError
from upnext.ids import IdMap
from upnext.types import Catalogue, Users

AUTHORS = ["ann", "bob", "cleo"]
CATEGORIES = ["news", "sport", "music"]
TITLES = ["Red Fox runs", "the RED dog", "The fox: und Öl", "öl", ""]


def catalogue(vector: np.ndarray | None = None) -> Catalogue:
    return Catalogue(
        published_at=np.zeros(5, np.int64),
        duration=np.array([60, 3600, np.nan, 0, 1e9], np.float32),
        author=np.array([0, 0, 1, -1, 2], np.int32),
        category=np.array([[0, 1], [1, -1], [-1, -1], [0, 2], [-1, 2]], np.int32),
        available=np.ones(5, np.bool_),
        title=TITLES,
        vector=vector,
    )


def vocabulary(vector: np.ndarray | None = None) -> Vocabulary:
    users = Users(np.array([[0, 1]] * 5 + [[0, 2]], np.int32))
    item, user = np.array([3, 1, 1], np.int32), np.array([7, 2, 2], np.int32)
    names = ["age=3", "sex=f", "sex=m"]
    return build_vocabulary(catalogue(vector), AUTHORS, CATEGORIES, users, names, ["", "home"], item, user)


def test_words_and_authors_must_occur_twice_and_attributes_five_times() -> None:
    found = vocabulary()
    assert set(found.title.decode(range(len(found.title)))) == {"red", "fox", "the", "öl"}
    assert found.author.decode(range(len(found.author))) == ["ann"]
    assert found.attribute.decode(range(len(found.attribute))) == ["age=3", "sex=f"]
    assert found.items.tolist() == [1, 3]
    assert found.users.tolist() == [2, 7]


def test_items_are_encoded_field_by_field() -> None:
    words = vocabulary()
    content = encode_items(catalogue(), AUTHORS, CATEGORIES, words)
    red, fox, the, oil = (words.title.code(word) + 1 for word in ("red", "fox", "the", "öl"))
    assert content.id.tolist() == [0, 1, 0, 2, 0]
    assert [row[row > 0].tolist() for row in content.title] == [[red, fox], [the, red], [the, fox, oil], [oil], []]
    assert content.title.shape == (5, TITLE_WORDS)
    assert content.author.tolist() == [1, 1, 0, 0, 0]
    assert [row[row > 0].tolist() for row in content.category] == [[1, 2], [2], [], [1, 3], [3]]
    assert content.category[4, 0] == 3  # packed to the left
    assert content.vector.shape == (5, 0)


def test_codes_of_another_catalogue_are_translated_by_name() -> None:
    words = vocabulary()
    authors, categories = ["zoe", "ann"], ["music", "new topic", "news"]
    other = Catalogue(
        published_at=np.zeros(2, np.int64),
        duration=np.full(2, np.nan, np.float32),
        author=np.array([1, 0], np.int32),
        category=np.array([[0, 2], [1, -1]], np.int32),
        available=np.ones(2, np.bool_),
        title=["", ""],
    )
    content = encode_items(other, authors, categories, words)
    assert content.author.tolist() == [1, 0]
    assert [row[row > 0].tolist() for row in content.category] == [[3, 1], []]


@pytest.mark.parametrize("rows", [np.array([4, 0, 0], np.int32), np.array([], np.int32), slice(1, 4)])
def test_some_rows_are_the_rows_of_all(rows: np.ndarray | slice) -> None:
    words = vocabulary()
    every = encode_items(catalogue(), AUTHORS, CATEGORIES, words).take(rows)
    some = encode_items(catalogue(), AUTHORS, CATEGORIES, words, rows)
    for name, column in every.columns().items():
        assert np.array_equal(column, some.columns()[name]), name


def test_rows_of_nan_are_items_without_a_supplied_vector() -> None:
    vector = np.full((5, 3), np.nan, np.float32)
    vector[1] = [1, 2, 3]
    content = encode_items(catalogue(vector), AUTHORS, CATEGORIES, vocabulary(vector))
    assert content.has_vector.tolist() == [0, 1, 0, 0, 0]
    assert content.vector.tolist() == [[0, 0, 0], [1, 2, 3], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_vectors_of_another_length_are_refused() -> None:
    words = vocabulary(np.zeros((5, 3), np.float32))
    with pytest.raises(DataError, match="length 4, but the model was trained with 3"):
        encode_items(catalogue(np.zeros((5, 4), np.float32)), AUTHORS, CATEGORIES, words)


def test_unknown_users_have_no_attributes_and_no_place() -> None:
    words = vocabulary()
    users = Users(np.array([[-1, 0], [2, 1]], np.int32))
    codes = encode_users(users, ["age=3", "sex=f", "mood=odd"], words, np.array([1, -1, 0, 9], np.int32))
    assert codes.shape == (4, ATTRIBUTES)
    assert [row[row > 0].tolist() for row in codes] == [[2], [], [1], []]
    assert place_users(np.array([7, 2, 0, -1, 99], np.int32), words).tolist() == [2, 1, 0, 0, 0]


def test_surfaces_are_known_by_name() -> None:
    words = vocabulary()
    surface = np.array([0, 1, 2, 5], np.int16)
    assert encode_surfaces(surface, ["", "search", "home"], words).tolist() == [1, 0, 2, 0]


def test_duration_buckets_rise_and_unknown_is_zero() -> None:
    seconds = np.array([np.nan, 0, -5, 0.5, 1, 1.5, 60, 3600, 1e9], np.float32)
    buckets = duration_bucket(seconds)
    assert buckets[:3].tolist() == [0, 0, 0]
    assert buckets[3] == buckets[4] == 1
    assert (np.diff(buckets[4:]) > 0).all()


def test_a_vocabulary_survives_saving(tmp_path) -> None:
    words = vocabulary(np.zeros((5, 3), np.float32))
    words.save(tmp_path)
    again = Vocabulary.load(tmp_path)
    for field in ("title", "category", "author", "attribute", "surface"):
        before, after = getattr(words, field), getattr(again, field)
        assert before.decode(range(len(before))) == after.decode(range(len(after)))
    assert np.array_equal(again.items, words.items)
    assert again.vector_size == 3


def test_a_grown_vocabulary_keeps_every_code_and_says_where_the_rows_went() -> None:
    old = vocabulary()
    later = replace(
        old, title=IdMap(["new", "fox", "newer"]), author=IdMap(["dora", "ann"]), category=IdMap(["arts"]),
        items=np.array([0, 2, 3], np.int32), users=np.array([1, 7, 9], np.int32),
    )  # fmt: skip
    grown = grow_vocabulary(old, later, title_words=len(old.title) + 1)
    for field in ("title", "category", "author", "attribute", "surface"):
        names = getattr(old, field).names
        assert getattr(grown, field).names[: len(names)] == names
    assert grown.title.names[len(old.title) :] == ["new"]  # no room for a second
    assert grown.author.names[len(old.author) :] == ["dora"]
    assert grown.items.tolist() == [0, 1, 2, 3]
    assert grown.users.tolist() == [1, 2, 7, 9]
    rows = moved_rows(old, grown)
    assert rows["items"].tolist() == [0, 2, 4]  # items 1 and 3
    assert rows["users"].tolist() == [0, 2, 3]  # users 2 and 7
    assert rows["title"].tolist() == list(range(len(old.title) + 1))
    everyone = np.arange(10, dtype=np.int32)
    before, after = place_users(everyone, old), place_users(everyone, grown)
    np.testing.assert_array_equal(rows["users"][before][before > 0], after[before > 0])


def test_a_missing_vocabulary_is_an_artifact_error(tmp_path) -> None:
    with pytest.raises(ArtifactError, match="no readable vocabulary"):
        Vocabulary.load(tmp_path)


@given(st.lists(st.lists(st.sampled_from(["a", "B", "zz", "Ä1", "--"]), max_size=20), max_size=6))
def test_titles_keep_the_first_known_words_in_order(titles: list[list[str]]) -> None:
    words = vocabulary()
    known = Vocabulary(
        IdMap(["b", "a", "ä1"]),
        words.category,
        words.author,
        words.attribute,
        words.surface,
        words.items,
        words.users,
        0,
    )
    items = len(titles)
    plain = Catalogue(
        published_at=np.zeros(items, np.int64),
        duration=np.zeros(items, np.float32),
        author=np.full(items, -1, np.int32),
        category=np.full((items, 1), -1, np.int32),
        available=np.ones(items, np.bool_),
        title=[" ".join(title) for title in titles],
    )
    content = encode_items(plain, [], [], known)
    code = {"a": 2, "B": 1, "Ä1": 3}
    expected = [[code[word] for word in title if word in code][:TITLE_WORDS] for title in titles]
    assert [row[row > 0].tolist() for row in content.title] == expected
