"""A real server in a thread of the test process, and a client that talks to it over TCP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from upnext.home import Home
from upnext.serving.app import create_app, listen


@contextmanager
def running(home: Home) -> Iterator[httpx.Client]:
    """A client of a server over ``home``."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(create_app(home), access_log=False, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as opened:
            yield opened
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
