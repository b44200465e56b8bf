"""Lists of users as people have them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from upnext.batch.users import digest, read_ids, with_codes
from upnext.errors import ConfigError

KNOWN = pl.DataFrame(
    {"user_id": ["ann", "bob", "cat", "7"], "code": [0, 1, 2, 3], "deleted": [False, False, True, False]}
)


def listed(path: Path) -> list[str]:
    ids = read_ids(str(path))
    assert ids is not None
    return ids.to_list()


def test_everybody_is_everybody_but_those_who_are_gone() -> None:
    assert read_ids("all") is None
    assert with_codes(None, KNOWN, "refuse").to_dict(as_series=False) == {
        "user_id": ["ann", "bob", "7"],
        "code": [0, 1, 3],
    }


def test_one_id_a_line_each_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_text("\ufeffbob\r\n\n  ann \r\nbob\n", encoding="utf-8")
    assert listed(path) == ["bob", "ann"]


def test_a_column_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("age,user_id\n33,007\n44,ann\n")
    assert listed(tmp_path / "users.csv") == ["007", "ann"]
    pl.DataFrame({"user_id": [7, 8, 7]}).write_parquet(tmp_path / "users.parquet")
    assert listed(tmp_path / "users.parquet") == ["7", "8"]


def test_lists_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    def refused(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError) as told:
            read_ids(str(tmp_path / name))
        return str(told.value)

    with pytest.raises(ConfigError, match="there is no such file"):
        read_ids(str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="there is no such file"):
        read_ids(str(tmp_path))
    assert "lists no user" in refused("empty.txt", b"\n\n")
    assert "cannot be read" in refused("latin.txt", "Jos\u00e9".encode("latin-1"))
    assert "cannot be read" in refused("broken.parquet", b"PAR1")
    assert "cannot be read" in refused("empty.csv", b"")
    assert "has no column user_id; its columns are id, age" in refused("other.csv", b"id,age\nann,3\n")
    assert "row 2 has no user_id" in refused("holes.csv", b"user_id,age\nann,3\n,4\n")


def test_the_unknown_and_the_gone_are_refused_left_out_or_answered() -> None:
    ids = pl.Series(["cat", "bob", "dan"])
    with pytest.raises(
        ConfigError, match=r"--users f: 2 of 3 are unknown to this home: 'cat', 'dan'\. `--unknown skip`"
    ):
        with_codes(ids, KNOWN, "refuse", "f")
    assert with_codes(ids, KNOWN, "skip").rows() == [("bob", 1)]
    assert with_codes(ids, KNOWN, "answer").rows() == [("cat", -1), ("bob", 1), ("dan", -1)]
    with pytest.raises(ConfigError, match="none of its users is known"):
        with_codes(ids[:1], KNOWN, "skip")
    with pytest.raises(ConfigError, match="this home knows no user yet"):
        with_codes(None, KNOWN[:0], "refuse")


def test_lists_are_told_apart() -> None:
    ids = pl.Series(["ann", "bob"])
    others = [None, ids[:1], ids.reverse(), pl.Series(["ann"]), pl.Series(["annbob"])]
    assert digest(ids, "skip") == digest(ids.clone(), "skip")
    assert digest(ids, "skip") not in {digest(ids, "answer"), *(digest(other, "skip") for other in others)}
