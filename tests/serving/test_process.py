"""The server as a process: what it imports, where it listens, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from upnext.errors import ConfigError
from upnext.home import Home
from upnext.serving.app import run_server

PROGRAM = """
import sys
from pathlib import Path
from upnext.home import Home
from upnext.serving.app import run_server

def ready(url):
    print(url, flush=True)

try:
    run_server(Home.open(Path(sys.argv[1])), port=0, on_ready=ready)
finally:
    heavy = {"torch", "implicit", "onnx", "onnxscript", "matplotlib", "scipy.sparse", "hypothesis"} & set(sys.modules)
    print("heavy:", sorted(heavy), flush=True)
"""


@contextmanager
def process(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its address; killed in the end if it still runs."""
    started = subprocess.Popen([sys.executable, "-c", PROGRAM, str(home)], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    try:
        yield started, started.stdout.readline().strip()
    finally:
        started.kill()
        started.wait()
        started.stdout.close()


def test_a_server_never_imports_torch_and_writes_everything_before_it_ends(home: Home) -> None:
    with process(home.directory) as (server, url):
        with httpx.Client(base_url=url, timeout=30) as client:
            answers = [client.post("/v1/recommendations", json={"user_id": f"u{n}"}).json() for n in range(5)]
            assert client.get("/docs").status_code == 200
            assert client.get("/metrics").status_code == 200
        server.send_signal(signal.SIGINT)
        output, _ = server.communicate(timeout=20)
        assert output.strip() == "heavy: []"
    log = home.log()
    events = log.read_events()
    log.close()
    assert int((events.as_of >= 0).sum()) == sum(len(answer["items"]) for answer in answers)


def test_what_was_acknowledged_survives_a_kill(home: Home) -> None:
    event = {"event_type": "click", "user_id": "survivor", "item_id": "i1"}
    with process(home.directory) as (server, url):
        for number in range(10):
            assert httpx.post(f"{url}/v1/events", json={**event, "event_id": str(number)}).status_code == 200
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    with process(home.directory) as (_, url):
        answer = httpx.post(f"{url}/v1/recommendations", json={"user_id": "survivor"}).json()
        assert answer["basis"] == "history of 10 events"


def test_a_port_in_use_is_a_sentence(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is in use"):
            run_server(home, port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_other_machines_need_a_key(home: Home, host: str) -> None:
    with pytest.raises(ConfigError, match=r"serving\.api_key is not set"):
        run_server(home, host=host, port=0)


def test_a_host_that_is_none_is_a_sentence(home: Home) -> None:
    secured = Home.open(home.directory, ["serving.api_key=0123456789abcdef"])
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:0"):
        run_server(secured, host="192.0.2.1", port=0)
