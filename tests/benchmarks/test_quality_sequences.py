"""A home's log as sequences: whose, of what, and in which order."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from benchmarks.quality.datasets import load
from benchmarks.quality.sequences import core_of, write

from upnext.cli import cli


def test_a_log_becomes_sequences_of_those_who_did_enough(tmp_path: Path) -> None:
    films = "".join(f"m{n}::Film {n} (2001)::{'Drama|War' if n == 2 else 'War'}\n" for n in range(7))
    seen = [(user, film) for film in (3, 1, 2, 1, 0, 4) for user in range(12)]  # everybody: 3, 1, 2, 1 again, 0, 4
    rows = [f"u{user}::m{film}::8::{1_300_000_000 + 60 * at}" for at, (user, film) in enumerate(seen)]
    (tmp_path / "ratings.dat").write_text("\n".join([*rows, "u0::m6::8::1300900000"]) + "\n", encoding="utf-8")
    (tmp_path / "movies.dat").write_text(films, encoding="utf-8")
    home, to = tmp_path / "home", tmp_path / "sequences"
    for words in (["init", str(home)], ["import", f"--home={home}", "movielens", str(tmp_path)]):
        cli.main(words, standalone_mode=False)
    assert write(home, to).endswith("12 users, 5 items, 60 events")
    test = load("sequences", to).test
    assert test.items[test.history[0]].tolist() == ["4", "2", "3", "1"]  # films 3, 1, 2, 0: film 6 has one rating
    assert test.items[test.truth[0]].tolist() == ["5"]
    about = json.loads((to / "attributes.json").read_text(encoding="utf-8"))
    assert [len(about[name]) for name in "12345"] == [1, 1, 2, 1, 1]
    with pytest.raises(SystemExit, match="no user and item has 13 events"):
        write(home, tmp_path / "more", 13)


def test_who_is_left_out_may_leave_others_with_too_few() -> None:
    rows = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": [7, 8, 7, 8, 8]})
    assert core_of(rows, 2).rows() == [(1, 7), (1, 8), (2, 7), (2, 8)]
    assert core_of(rows.head(3), 2).is_empty()
