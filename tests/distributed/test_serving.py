"""The server on a Ray cluster: what replicas and shards answer is what one process answers, whatever dies."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from upnext.bench.server import Client, ServerProcess
from upnext.home import Home
from upnext.serving.engine import Engine
from upnext.testing.processes import processes

pytest.importorskip("ray", reason="Ray is not installed: `make ray`")

WORDS = ("--ray", "local", "--replicas", "2", "--shards", "3")
WITHIN_S = 90.0  # benchmarks.distributed measures it: here the machine may be busy
ASKED = {"n": 10, "explore": 0.0, "log_impressions": False}


@pytest.fixture(scope="module")
def home(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "home"
    shutil.copytree(trained, folder)
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[ServerProcess]:
    started = ServerProcess(home, words=WORDS)
    yield started
    started.end()


def ask(server: ServerProcess, path: str = "/v1/recommendations", body: Any = None) -> Any:
    """On a connection of its own: any replica may answer."""
    with Client(server.port) as client:
        status, answer = client("GET" if body is None else "POST", path, body)
    assert status == 200, answer
    return answer


def patiently(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        try:
            if condition():
                return
        except (OSError, HTTPException, AssertionError):
            pass
        time.sleep(0.1)
    assert condition()


def whole(answer: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The first answer with nothing left out: a machine busy with other tests may be late, and then says so."""
    until = time.monotonic() + WITHIN_S
    while (answered := answer())["degraded"] and time.monotonic() < until:
        time.sleep(0.1)
    assert answered["degraded"] == []
    return answered


def test_replicas_and_shards_answer_as_one_process_does(server: ServerProcess, trained: Path) -> None:
    """But for what lies between two moments: ages and counters move on from one answer to the other."""
    same, shared = [], []
    with Engine(Home.open(trained)) as engine:
        for user in engine.live.users.ids.names[:40]:
            mine = whole(lambda user=user: engine.recommend(user_id=user, **ASKED))  # type: ignore[misc]
            theirs = whole(lambda user=user: ask(server, body={"user_id": user, **ASKED}))  # type: ignore[misc]
            items = [[row["item_id"] for row in answer["items"]] for answer in (mine, theirs)]
            same.append(items[0] == items[1])
            shared.append(len(set(items[0]) & set(items[1])))
    assert sum(same) >= 38
    assert min(shared) >= 9


def test_what_one_replica_is_told_the_other_knows(server: ServerProcess) -> None:
    told = ask(server, "/v1/events", [{"event_type": "click", "user_id": "somebody new", "item_id": "i1"}])
    assert told["accepted"] == 1

    def all_know() -> bool:
        bases = {ask(server, body={"user_id": "somebody new", **ASKED})["basis"] for _ in range(20)}
        return bases == {"history of 1 event"}

    patiently(all_know)


def test_a_page_goes_on_at_any_replica(server: ServerProcess) -> None:
    page = ask(server, body={"user_id": "u3", "n": 5, "explore": 0.0})
    shown = {row["item_id"] for row in page["items"]}
    for number in range(2, 6):
        page = ask(server, "/v1/recommendations/" + page["recommendation_id"] + "/next")
        shown |= {row["item_id"] for row in page["items"]}
        assert len(shown) == 5 * number


def test_a_lost_shard_is_missed_and_named_and_comes_back_by_itself(server: ServerProcess) -> None:
    shards = processes("ray::Shard")
    assert len(shards) == 3
    os.kill(shards[0], signal.SIGKILL)
    lost = []
    for _ in range(10):
        answer = ask(server, body={"user_id": "u5", **ASKED})
        assert len(answer["items"]) == 10
        lost += answer["degraded"]
    assert any(said.startswith("shards: ") and said.endswith("is away, its items are missing") for said in lost), lost
    patiently(lambda: all(ask(server, body={"user_id": "u5", **ASKED})["degraded"] == [] for _ in range(10)))
    assert ask(server, "/v1/health/ready")["degraded"] == []


def test_a_lost_replica_is_replaced_and_answers_go_on(server: ServerProcess) -> None:
    replicas = processes("ray::ServeReplica")
    assert len(replicas) == 2
    os.kill(replicas[0], signal.SIGKILL)
    patiently(lambda: len(ask(server, body={"user_id": "u5", **ASKED})["items"]) == 10)
    patiently(lambda: len(set(processes("ray::ServeReplica")) - {replicas[0]}) == 2)


def test_a_new_version_rolls_through_the_replicas(home: Path, server: ServerProcess) -> None:
    models = Home.open(home).models()
    before = models.active()
    assert before is not None
    folder, manifest = models.open(before)
    with models.draft() as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        (draft / "manifest.json").unlink()
        fresh = models.publish(draft, manifest)

    def all_serve_it() -> bool:
        answers = [ask(server, body={"user_id": "u7", **ASKED}) for _ in range(10)]
        assert all(len(answer["items"]) == 10 for answer in answers)
        return {answer["model_version"] for answer in answers} == {fresh}

    patiently(all_serve_it)
    assert ask(server, body={"user_id": "u7", **ASKED})["degraded"] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray, where it is imported
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replicas", "2"], "--replicas and --shards are of --ray"),
        (["--shards", "3"], "--replicas and --shards are of --ray"),
        (["--ray", "local", "--workers", "2"], "with --ray say --replicas"),
        (["--ray", "local", "--replicas", "3..2"], "no more at least than at most"),
        (["--ray", "local", "--replicas", "many"], "is no number and no range"),
        (["--ray", "nowhere"], "--ray nowhere: no Ray cluster answers there"),
        (["--ray", "127.0.0.1:9"], "`ray start --head`"),
        (["--ray", "local", "--host", "0.0.0.0"], "serving.api_key is not set"),
    ],
)
def test_what_cannot_be_is_said(upnext: Any, home: Path, words: list[str], said: str) -> None:
    done = upnext("serve", "--home", home, "--port", "0", *words)
    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert "Traceback" not in done.err
