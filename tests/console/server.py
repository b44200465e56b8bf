"""A server on one port that can be stopped and started again, and a browser page that remembers what went wrong."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvicorn

from upnext.home import Home
from upnext.serving.app import create_app, listen

CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)


class Server:
    """Over a home, on a port of its own that stays the same."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._port = 0
        self._stop: Any = None
        self.guests: list[Any] = []  # browser contexts: they leave before the server does, or would complain
        self.start()
        self.url = f"http://127.0.0.1:{self._port}"
        self.api = httpx.Client(base_url=self.url, timeout=30)

    def start(self) -> None:
        listener = listen("127.0.0.1", self._port)
        self._port = listener.getsockname()[1]
        app = create_app(Home.open(self.home.directory) if self.home.config.serving.api_key is None else self.home)
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join()
            listener.close()

        self._stop = stop

    def stop(self) -> None:
        if self._stop is not None:
            self._stop()
            self._stop = None

    def close(self) -> None:
        for guest in self.guests:
            guest.close()
        self.api.close()
        self.stop()


class Watched:
    """What a page said and asked for: it must not complain, nor talk to anybody but its own server."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self._origin = page, urlsplit(url).netloc
        self.problems: list[str] = []
        self.forgiven = False  # while the server is stopped the browser itself complains
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("request", self._asked)
        page.on("dialog", self._opened)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and not self.forgiven:
            self.problems.append(f"{message.type}: {message.text} {message.location}")

    def _asked(self, request: Any) -> None:
        where = urlsplit(request.url)
        if where.scheme not in ("data", "blob") and where.netloc != self._origin:
            self.problems.append(f"asked {request.url}")

    def _opened(self, dialog: Any) -> None:
        self.problems.append(f"a dialog of the browser: {dialog.message}")
        dialog.dismiss()


def copied(trained: Path, folder: Path, *overrides: str) -> Home:
    shutil.copytree(trained, folder)
    return Home.open(folder, overrides)


def until(page: Any, expression: str, seconds: float = 10.0) -> None:
    """Wait until it is true on the page. (The driver's own way to wait needs eval, which the console forbids.)"""
    ends = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < ends, f"did not become true: {expression}"
        page.wait_for_timeout(25)
