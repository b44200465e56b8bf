"""What is written for ``upnext import``: all that may be known, and nothing of the truth."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from benchmarks.quality import homes
from benchmarks.quality.datasets import check_ins, ratings, sequences
from benchmarks.quality.funnel import SLATE, UNION, ask
from benchmarks.quality.lists import Top
from benchmarks.quality.metrics import Measure
from benchmarks.quality.results import System, best, plain
from benchmarks.quality.split import Lists

from upnext.home import Home


def test_the_last_item_is_not_written(tmp_path: Path) -> None:
    data, inbox = tmp_path / "data", tmp_path / "inbox"
    data.mkdir()
    inbox.mkdir()
    (data / "sequences.txt").write_text("7 1 2 3 4\n8 4 2 1\n9 4\n", encoding="utf-8")  # 9 did nothing before
    (data / "attributes.json").write_text(json.dumps({"1": [5]}), encoding="utf-8")
    source = homes.sequences(sequences(data).test, data, inbox)
    assert (inbox / "sequences.txt").read_text(encoding="utf-8") == "7 1 2 3\n8 4 2\n"
    assert source.until == "2020-01-01"


def test_check_ins_get_times_over_one_day(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 0 1 2\n1 2 3\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("0 3\n1 0 1\n", encoding="utf-8")
    source = homes.check_ins(check_ins(tmp_path).test, tmp_path, tmp_path)
    with (tmp_path / "events.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["user_id"], row["item_id"]) for row in rows) == [
        ("0", "0"), ("0", "1"), ("0", "2"), ("1", "2"), ("1", "3"),
    ]  # fmt: skip
    times = [int(row["happened_at"]) for row in rows]
    assert times == sorted(set(times))
    assert source.now - homes.DAY_MS <= times[0] < times[-1] < source.now


def test_ratings_of_the_period_are_not_written(tmp_path: Path) -> None:
    rows = [f"u{place % 3}::m{place}::8::{1000 + place}" for place in range(20)]
    (tmp_path / "ratings.dat").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "movies.dat").write_text("m0::A (2001)::Drama|War\n", encoding="utf-8")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    source = homes.ratings(ratings(tmp_path).test, tmp_path, inbox)
    assert (inbox / "ratings.dat").read_text(encoding="utf-8").splitlines() == rows[:18]
    assert source.now == 1_018_000


def test_a_home_without_a_model_answers_in_codes_of_the_split(tmp_path: Path) -> None:
    """Nothing is recommended again, places are filled, and whoever is unknown is answered too."""
    (tmp_path / "ratings.dat").write_text(
        "".join(f"u{n % 3}::m{n % 7}::8::{1_300_000_000 + n}\n" for n in range(18)) + "new::m1::9::1300000020\n" * 2,
        encoding="utf-8",
    )
    films = "".join(f"m{n}::Film {n} (2001)::Drama\n" for n in range(9))
    (tmp_path / "movies.dat").write_text(films, encoding="utf-8")
    split = ratings(tmp_path).test
    home, source = homes.imported("movietweetings", split, tmp_path, tmp_path / "work")
    assert Home.open(home).models().active() is None
    found = ask(home, split, source.now, 5)
    assert split.users[split.asked].tolist() == ["new"]
    assert {SLATE, UNION, "trending"} <= found.tops.keys()
    slate = found.tops[SLATE].item
    assert slate.shape == (1, 5)
    assert (slate >= 0).all()


def test_the_best_peer_is_what_others_are_compared_with() -> None:
    truth, measure = Lists.of([[0], [1], [2]]), Measure("recall", 1)
    systems = []
    for name, items in {"mine": [0, 1, 2], "good": [0, 1, 0], "bad": [1, 0, 0]}.items():
        systems.append(System(name))
        systems[-1].add(Top.in_order(np.array(items, np.int32)[:, None]), truth, [measure], 3, 1.0)
    assert best(systems[1:], "recall@1") is systems[1]
    rows = plain(systems, systems[1:], [measure])
    assert [row["recall@1 difference"]["to"] for row in rows] == ["good", "bad", "good"]
