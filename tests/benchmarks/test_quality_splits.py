"""The splits: what is the truth, what is known, and that nothing of the first is in the second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.quality.datasets import check_ins, load, ratings, sequences, warm_pairs
from benchmarks.quality.split import Lists, Split

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def names(split: Split, lists: Lists) -> list[list[str]]:
    return [split.items[lists[row]].tolist() for row in range(len(lists))]


def test_the_last_item_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("7 1 2 3 4\n8 4 2 1\n", encoding="utf-8")
    (tmp_path / "attributes.json").write_text(json.dumps({"1": [5], "9": [5, 6]}), encoding="utf-8")
    splits = sequences(tmp_path)
    test, validation = splits.test, splits.validation
    assert test.items.tolist() == ["1", "2", "3", "4", "9"]
    assert names(test, test.fit) == [["1", "2"], ["4"]] == names(validation, validation.fit)
    assert names(test, test.history) == [["1", "2", "3"], ["4", "2"]]
    assert names(test, test.truth) == [["4"], ["1"]]
    assert names(validation, validation.history) == [["1", "2"], ["4"]]
    assert names(validation, validation.truth) == [["3"], ["2"]]
    assert test.attributes[4].tolist() == [5, 6]
    assert test.items[test.cold_items].tolist() == ["3", "9"]


def test_any_folder_in_a_format_is_read_and_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("ann b10 b2 c\nbob c\ncid b2 c\n", encoding="utf-8")
    test = load("sequences", tmp_path).test
    assert names(test, test.truth) == [["c"], [], ["c"]]
    assert names(test, test.history) == [["b10", "b2"], [], ["b2"]]
    assert test.attributes.sizes.tolist() == [0, 0, 0]
    with pytest.raises(SystemExit, match=f"{tmp_path} is not readable as check-ins: .*train.txt"):
        load("gowalla", tmp_path)


def test_check_ins_keep_the_published_division(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 0 1 2\n1 2 3\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("0 3\n1 0 1\n", encoding="utf-8")
    splits = check_ins(tmp_path)
    assert names(splits.test, splits.test.fit) == [["0", "1", "2"], ["2", "3"]]
    assert names(splits.test, splits.test.truth) == [["3"], ["0", "1"]]
    both = len(splits.validation.fit.item) + len(splits.validation.truth.item)
    assert both == len(splits.test.fit.item)


def test_ratings_are_divided_in_time(tmp_path: Path) -> None:
    rows = [f"{user}::{film}::8::{1000 + place}" for place, (user, film) in enumerate(RATINGS)]
    (tmp_path / "ratings.dat").write_text("\n".join(reversed(rows)) + "\n", encoding="utf-8")
    (tmp_path / "movies.dat").write_text("m0::A (2001)::Drama|War\nm9::B (2002)::\n", encoding="utf-8")
    test = ratings(tmp_path).test
    assert test.now == 1_018_000
    assert len(test.fit.item) == 18
    assert test.fit_at.max() < test.now
    asked = {test.users[user]: names(test, test.truth)[user] for user in test.asked}
    assert asked == {"new": ["m1"], "u0": ["m8"]}
    found = {name: mask.tolist() for name, mask in warm_pairs(test).items()}
    assert found == {
        "cold users": [True, False],
        "cold items": [False, True],
        "warm users and items": [False, False],
    }


RATINGS = [*((f"u{n % 3}", f"m{n % 6}") for n in range(18)), ("new", "m1"), ("u0", "m8")]


def test_a_split_comes_back_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("7 1 2 3 4\n8 4 2 1\n", encoding="utf-8")
    (tmp_path / "attributes.json").write_text("{}", encoding="utf-8")
    split = sequences(tmp_path).test
    split.save(tmp_path / "split.npz")
    found = Split.load(tmp_path / "split.npz")
    assert found.items.tolist() == split.items.tolist()
    assert names(found, found.history) == names(split, split.history)
    assert (found.ordered, found.now) == (split.ordered, split.now)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data of ../shared/data is absent")
@pytest.mark.parametrize(
    ("name", "users", "items", "pairs"),
    [
        ("amazon-beauty", 22_363, 12_101, 22_363),
        ("amazon-toys", 19_412, 11_924, 19_412),
        ("gowalla", 29_858, 40_981, 217_242),
        ("movietweetings", 4_741, 22_438, 14_170),
    ],
)
def test_real_data_is_what_it_was(name: str, users: int, items: int, pairs: int) -> None:
    for split in (load(name, DATA / name).test, load(name, DATA / name).validation):
        known = np.unique((split.history.row << 32) | split.history.item)
        assert not np.isin((split.truth.row << 32) | split.truth.item, known).any()
    test = load(name, DATA / name).test
    assert (len(test.asked), len(test.items), len(test.truth.item)) == (users, items, pairs)
