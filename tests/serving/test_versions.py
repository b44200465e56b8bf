"""Versions change under a running server: all parts of one together, nobody waits, nothing half-written is served."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import httpx

from tests.serving.server import running
from upnext.home import Home
from upnext.serving.engine import Engine
from upnext.storage.artifacts import Manifest, Models


def publish_copy(models: Models, folder: Path, manifest: Manifest, activate: bool = True) -> str:
    with models.draft() as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        return models.publish(draft, manifest, activate)


def serving(client: httpx.Client) -> str:
    asked = {"user_id": "u1", "n": 3, "log_impressions": False}
    return str(client.post("/v1/recommendations", json=asked).json()["model_version"])


def seconds_until(client: httpx.Client, version: str, within: float = 10) -> float:
    began = time.monotonic()
    while serving(client) != version:
        assert time.monotonic() - began < within, f"{version} is not served"
        time.sleep(0.02)
    return time.monotonic() - began


def test_activation_and_rollback_reach_a_running_server(home: Home) -> None:
    models = home.models()
    folder, manifest = models.open()
    first = manifest.version
    with running(home) as client:
        assert serving(client) == first
        second = publish_copy(models, folder, manifest)
        seconds_until(client, second)
        third = publish_copy(models, folder, manifest, activate=False)
        time.sleep(1)  # two rounds of the tail: what is only published does not serve
        assert serving(client) == second
        models.activate(models.find(third))
        seconds_until(client, third)
        models.rollback()
        seconds_until(client, second)
        models.rollback()
        seconds_until(client, first)


def test_requests_under_way_end_on_one_version_while_versions_change(home: Home) -> None:
    models = home.models()
    folder, manifest = models.open()
    versions = [manifest.version, publish_copy(models, folder, manifest)]
    answers: list[dict] = []
    done = threading.Event()
    with Engine(home) as engine:

        def ask(user: str) -> None:
            while not done.is_set():
                answers.append(engine.recommend(user_id=user, n=10, log_impressions=False, deadline_ms=60_000))

        threads = [threading.Thread(target=ask, args=(f"u{n}",)) for n in range(2)]
        for thread in threads:
            thread.start()
        taken = 0
        for change in range(6):
            models.activate(versions[change % 2])
            taken += engine.reload()
        done.set()
        for thread in threads:
            thread.join()
    assert taken == 6
    assert {answer["model_version"] for answer in answers} == set(versions)
    assert all(len(answer["items"]) == 10 for answer in answers)
    assert not [reason for answer in answers for reason in answer["degraded"]]


def test_half_written_and_damaged_versions_are_never_served(home: Home) -> None:
    """A draft has no effect; a version that was cut short, or lacks a file, is refused, and the old one serves on."""
    models = home.models()
    folder, manifest = models.open()
    with Engine(home) as engine:
        half = models.directory / ".draft-half"
        shutil.copytree(folder, half)
        assert engine.reload() is False
        assert models.versions() == [manifest.version]
        for harm in ("sources/two_tower/index.faiss", "ranker/scorer.onnx", "sources/als/item_factors.npy"):
            broken = publish_copy(models, folder, manifest)
            path = models.directory / broken / harm
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            assert engine.reload() is False
            gone = publish_copy(models, folder, manifest)
            (models.directory / gone / harm).unlink()
            assert engine.reload() is False
            assert engine.recommend(user_id="u1")["model_version"] == manifest.version
        assert models.rollback()[0] == manifest.version
        assert engine.reload() is False
        assert engine.recommend(user_id="u1")["degraded"] == []
