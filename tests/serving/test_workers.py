"""Several processes, one truth: what one worker is told the others know, and all of them end together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.serving.conftest import SMALL

WITHIN_S = 15.0  # benchmarks.live measures it: here the machine may be busy


@contextmanager
def serving(home: Path, workers: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    settings = [f"--set={setting}" for setting in SMALL]
    command = [sys.executable, "-m", "upnext", "serve", "--home", str(home), "--port", "0", "--workers", str(workers)]
    server = subprocess.Popen([*command, *settings], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        found = re.search(r"http://[\d.:]+", server.stdout.readline())
        assert found is not None
        yield server, found.group()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        server.stdout.close()


def children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(number) for number in listed.read_text().split()] if listed.exists() else []


def ask(url: str, path: str, **body: object) -> httpx.Response:
    """One call on a connection of its own, so that any worker may take it."""
    return httpx.post(f"{url}/v1/{path}", json=body, timeout=30)


def soon(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads the process table")
def test_workers_share_one_truth_and_end_together(home: object) -> None:
    folder: Path = home.directory  # type: ignore[attr-defined]
    with serving(folder, 2) as (server, url):
        workers = children(server.pid)
        assert len(workers) == 2
        _events_and_deletions_cross(url)
        _pages_continue_anywhere(url)
        counted = httpx.get(f"{url}/metrics").text
        assert re.search(r'upnext_events_total\{fate="accepted"\} [1-9]', counted)
        os.kill(workers[0], signal.SIGKILL)
        time.sleep(1)
        assert len(children(server.pid)) == 2
        assert workers[0] not in children(server.pid)
        assert ask(url, "recommendations", user_id="u1").status_code == 200
        workers = children(server.pid)
    assert server.returncode == 0
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def _events_and_deletions_cross(url: str) -> None:
    asked = [ask(url, "recommendations", user_id="u5", n=5, log_impressions=False).json() for _ in range(6)]
    item = asked[0]["items"][0]["item_id"]
    assert ask(url, "events", event_type="click", user_id="fresh", item_id=item).status_code == 200

    def known_everywhere() -> bool:
        answers = [ask(url, "recommendations", user_id="fresh", log_impressions=False).json() for _ in range(8)]
        return all(answer["basis"] == "history of 1 event" for answer in answers)

    assert soon(known_everywhere)
    assert httpx.delete(f"{url}/v1/items/{item}").status_code == 200

    def gone_everywhere() -> bool:
        answers = [ask(url, "recommendations", user_id="u5", n=5, log_impressions=False).json() for _ in range(8)]
        return all(item not in [row["item_id"] for row in answer["items"]] for answer in answers)

    assert soon(gone_everywhere)


def _pages_continue_anywhere(url: str) -> None:
    page = ask(url, "recommendations", user_id="u9", n=5).json()
    seen = [row["item_id"] for row in page["items"]]
    for _ in range(6):
        answer = httpx.get(f"{url}/v1/recommendations/{page['recommendation_id']}/next", timeout=30)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        seen += [row["item_id"] for row in page["items"]]
    assert len(seen) == len(set(seen)) == 35
