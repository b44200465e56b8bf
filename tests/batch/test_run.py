"""Everybody's recommendations: the server's own answers, of one moment, however often the run was stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from upnext.batch.answers import SCHEMA
from upnext.batch.plan import PLAN, PartsFolder
from upnext.batch.run import Summary, Wanted, recommend_all
from upnext.errors import ConfigError, HomeError, StorageError, UpnextError
from upnext.home import Home
from upnext.serving.engine import Engine
from upnext.training.progress import Silent, Step

NOW = time.time_ns() // 1_000_000


class Stops(Silent):
    """An interrupt from the keyboard when so many parts are done."""

    def __init__(self, parts: int) -> None:
        self.said: list[str] = []
        self._left = parts

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Step]:
        def step(advance: int, message: str) -> None:
            self._left -= 1
            if not self._left:
                raise KeyboardInterrupt

        yield step

    def say(self, text: str) -> None:
        self.said.append(text)


def run(
    home: Home,
    target: Path,
    progress: Silent | None = None,
    restart: bool = False,
    processes: int = 1,
    **wanted: object,
) -> Summary:
    asked = Wanted(**wanted)  # type: ignore[arg-type]
    return recommend_all(home, asked, target, (), processes, restart, progress, wall=lambda: NOW)


def add_odd_users(home: Home) -> None:
    """One who never did anything, and one who is gone."""
    log = home.log()
    log.upsert_users(pl.DataFrame({"user_id": ["fresh", "gone"]}))
    log.delete_users(["gone"])
    log.close()


def same_as_served(row: dict[str, object], served: dict[str, object]) -> bool:
    same = row["item_id"] == served["item_id"] and row["source"] == served["source"]
    if row["score"] is None or served["score"] is None:
        return same and row["score"] is served["score"]
    return same and bool(np.isclose(row["score"], served["score"], rtol=1e-4, atol=1e-5))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "question",
    [{"n": 10}, {"n": 10, "explore": 0.3}, {"n": 330, "surface": "home"}],
    ids=["plain", "explored", "filled up"],
)
def test_the_answers_are_those_of_the_server(home: Home, tmp_path: Path, question: dict[str, object]) -> None:
    add_odd_users(home)
    with Engine(home, wall=lambda: NOW) as engine:
        question = {**question, "surface": engine.live.surfaces.names[-1]}
        done = run(home, tmp_path / "recs.parquet", processes=2, **question)
        written = pl.read_parquet(tmp_path / "recs.parquet")
        assert written.schema == pl.Schema(SCHEMA)
        by_user = written.partition_by("user_id", as_dict=True, maintain_order=True)
        users = [name for name in engine.live.users.ids.names if name != "gone"]
        assert [user for (user,) in by_user] == users
        assert done.answered == done.plan.users == len(users)
        for user in users:
            unhurried = {"explore": 0.0, "deadline_ms": 60_000.0, "log_impressions": False}
            answer = engine.recommend(user_id=user, **{**unhurried, **question})
            assert answer["degraded"] == []
            rows = by_user[(user,)].to_dicts()
            assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
            assert len(rows) == len(answer["items"])
            assert all(same_as_served(row, served) for row, served in zip(rows, answer["items"], strict=True)), user
    filled = written.filter(pl.col("score").is_null())
    assert filled.is_empty() == (question["n"] == 10)
    assert (written["propensity"] < 1).any() == ("explore" in question)
    assert written["degraded"].null_count() == len(written)
    assert written["model_version"].unique().to_list() == [home.models().active()]
    assert {int(at.timestamp() * 1000) for at in written["made_at"].unique()} == {NOW}


def test_the_file_says_what_it_is_of(home: Home, tmp_path: Path) -> None:
    log = home.log()
    last = log.last_offset()
    done = run(home, tmp_path / "recs.parquet", n=3)
    told = json.loads(pl.read_parquet_metadata(tmp_path / "recs.parquet")["upnext"])
    assert told == done.plan.model_dump()
    assert (told["log_offset"], told["now"], told["n"], told["explore"]) == (last, NOW, 3, 0.0)
    assert log.last_offset() == last  # no impressions
    assert not PartsFolder(tmp_path / "recs.parquet").path.exists()
    log.close()


def test_a_stopped_run_goes_on_as_if_nothing_had_happened_since(home: Home, trained: Path, tmp_path: Path) -> None:
    run(Home.open(trained), tmp_path / "whole.parquet", n=5)
    whole, target = pl.read_parquet(tmp_path / "whole.parquet"), tmp_path / "recs.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(home, target, Stops(1), n=5)
    folder = PartsFolder(target)
    plan = folder.plan()
    assert plan is not None
    left = folder.missing(plan)
    assert 0 < len(left) <= plan.parts - 1
    assert not target.exists()
    log = home.log()
    shown = whole["item_id"].unique()
    log.delete_items(shown[: len(shown) // 2].to_list())
    log.upsert_users(pl.DataFrame({"user_id": ["late"]}))
    clicks = {"event_type": ["click"] * 50, "user_id": whole["user_id"][-50:], "item_id": whole["item_id"][:50]}
    log.append_events(pl.DataFrame({**clicks, "happened_at": [NOW] * 50}))
    log.close()
    going_on = Stops(100)
    done = run(home, target, going_on, n=5)
    assert going_on.said == [f"Going on with {folder.path}: {plan.parts - len(left)} of {plan.parts} parts are there"]
    assert (done.plan, done.answered) == (plan, sum(map(plan.size, left)))
    assert_frame_equal(pl.read_parquet(target), whole)
    run(home, target, n=5)  # a run that ended is not gone on with
    now = pl.read_parquet(target)
    assert now["user_id"][-1] == "late"
    assert not set(now["item_id"]) & set(shown[: len(shown) // 2])


def test_a_part_that_was_cut_short_is_answered_again(home: Home, tmp_path: Path) -> None:
    target = tmp_path / "recs.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(home, target, Stops(1), n=2)
    folder = PartsFolder(target)
    plan = folder.plan()
    assert plan is not None
    there = next(n for n in range(plan.parts) if n not in folder.missing(plan))
    path = folder.part(plan, there)
    path.write_bytes(path.read_bytes()[:-100])
    assert there in folder.missing(plan)
    run(home, target, n=2)
    assert pl.read_parquet(target)["user_id"].n_unique() == plan.users


def test_a_killed_command_goes_on(home: Home, tmp_path: Path) -> None:
    target = tmp_path / "recs.parquet"
    words = ["recommend", "--home", home.directory, "--users", "all", "--n", "4", "--out", target, "--processes", "2"]
    command = [sys.executable, "-W", "error", "-m", "upnext", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    folder = PartsFolder(target)
    for _ in range(1200):
        if list(folder.path.glob("part-*")):
            break
        time.sleep(0.05)
    workers = children(process.pid)
    assert workers
    process.kill()
    process.communicate()
    plan = folder.plan()
    assert plan is not None
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers), "workers outlived the command"
    kept = {path.name: path.stat().st_mtime_ns for path in folder.path.glob("part-*")}
    assert 0 < len(kept) < plan.parts
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (again.returncode, again.stderr) == (0, "")
    assert f"{len(kept)} of {plan.parts} parts are there" in " ".join(again.stdout.split())
    assert "users/s" in again.stdout
    assert json.loads(pl.read_parquet_metadata(target)["upnext"]) == plan.model_dump()
    assert pl.read_parquet(target).group_by("user_id").len()["len"].to_list() == [4] * plan.users


def children(pid: int) -> list[int]:
    """Processes that the kernel says were started by this one."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def test_a_worker_that_dies_is_told_of(home: Home, tmp_path: Path) -> None:
    class Murder(Silent):
        @contextmanager
        def track(self, description: str, total: int) -> Iterator[Step]:
            def step(advance: int, message: str) -> None:
                for pid in children(os.getpid()):
                    if b"upnext.batch.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, signal.SIGKILL)

            yield step

    with pytest.raises(UpnextError, match=r"a worker was ended by signal 9 .*the same command goes on"):
        run(home, tmp_path / "recs.parquet", Murder(), n=2)
    assert run(home, tmp_path / "recs.parquet", n=2).plan.users == 120


def test_runs_are_not_mixed(home: Home, tmp_path: Path) -> None:
    target, some = tmp_path / "recs.parquet", tmp_path / "some"
    some.write_text("u1\nu2\n")
    with pytest.raises(KeyboardInterrupt):
        run(home, target, Stops(1), n=5)
    others: dict[str, dict[str, object]] = {
        "n 5 instead of 6": {"n": 6},
        "explore 0.0 instead of 0.1": {"n": 5, "explore": 0.1},
        "other users": {"n": 5, "users": str(some)},
    }
    for told, other in others.items():
        with pytest.raises(StorageError, match=f"unfinished run is there, with {told}.*--restart"):
            run(home, target, **other)
    with pytest.raises(StorageError, match="with other settings"):
        run(Home.open(home.directory, ["reranking.diversity=0.9"]), target, n=5)
    done = run(home, target, restart=True, n=5, users=str(some))
    assert pl.read_parquet(target)["user_id"].n_unique() == done.answered == 2


def test_another_model_or_another_log_is_not_mixed_in(home: Home, tmp_path: Path) -> None:
    target = tmp_path / "recs.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(home, target, Stops(1))
    old = home.models().active()
    with home.models().draft() as draft:
        folder, manifest = home.models().open(old)
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        (draft / "manifest.json").unlink()
        fresh = home.models().publish(draft, manifest)
    with pytest.raises(StorageError, match=f"model_version '{old}' instead of '{fresh}'"):
        run(home, target)
    home.models().activate(str(old))
    for path in (home.directory / "var").glob("log.db*"):
        path.unlink()
    with pytest.raises(UpnextError, match=r"does not fit this home's log any more.*--restart"):
        run(home, target)


def test_files_of_others_are_not_swept_away(home: Home, tmp_path: Path) -> None:
    target = tmp_path / "recs.parquet"
    folder = PartsFolder(target).path
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    run(home, target, n=2)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_two_runs_do_not_write_to_one_file(home: Home, tmp_path: Path) -> None:
    target = tmp_path / "recs.parquet"
    with PartsFolder(target).alone(), pytest.raises(StorageError, match="another run is writing there"):
        run(home, target)


def test_a_plan_that_cannot_be_read_is_not_thrown_away(home: Home, tmp_path: Path) -> None:
    target = tmp_path / "recs.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(home, target, Stops(1))
    (PartsFolder(target).path / PLAN).write_text("{")
    with pytest.raises(StorageError, match=r"plan.json: is damaged.*--restart"):
        run(home, target)


def test_what_makes_no_sense_is_refused_and_leaves_nothing(home: Home, bare: Home, tmp_path: Path) -> None:
    target, strangers = tmp_path / "recs.parquet", tmp_path / "strangers.txt"
    strangers.write_text("u1\nsomebody\n")
    with pytest.raises(UpnextError, match=r"n is 501; it must be 1 to 500\. serving.max_k allows more"):
        run(home, target, n=501)
    with pytest.raises(ConfigError, match=r"explore is 1\.5"):
        run(home, target, explore=1.5)
    with pytest.raises(ConfigError, match=r"Name a file that ends in \.parquet"):
        run(home, tmp_path / "recs.csv")
    with pytest.raises(ConfigError, match=r"is no folder\. Make it first"):
        run(home, tmp_path / "absent" / "recs.parquet")
    with pytest.raises(ConfigError, match="is no folder"):
        run(home, strangers / "recs.parquet")
    with pytest.raises(HomeError, match=r"no model version is published yet\. `upnext train` makes one"):
        run(bare, target)
    with pytest.raises(ConfigError, match=r"--surface 'hom': no event names it"):
        run(home, target, surface="hom")
    with pytest.raises(ConfigError, match=r"1 of 2 are unknown to this home: 'somebody'. `--unknown skip`"):
        run(home, target, users=str(strangers))
    assert not target.exists()
    assert not PartsFolder(target).path.exists()


def test_strangers_can_be_left_out_or_answered(home: Home, tmp_path: Path) -> None:
    target, listed = tmp_path / "recs.parquet", tmp_path / "listed.txt"
    listed.write_text("somebody\nu2\nu1\n")
    run(home, target, users=str(listed), unknown="skip", n=3)
    assert pl.read_parquet(target)["user_id"].unique(maintain_order=True).to_list() == ["u2", "u1"]
    run(home, target, users=str(listed), unknown="answer", n=3)
    written = pl.read_parquet(target)
    assert written["user_id"].unique(maintain_order=True).to_list() == ["somebody", "u2", "u1"]
    with Engine(home, wall=lambda: NOW) as engine:
        answer = engine.recommend(user_id="somebody", n=3, explore=0.0, log_impressions=False)
    assert [row["item_id"] for row in answer["items"]] == written["item_id"][:3].to_list()
