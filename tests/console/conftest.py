"""A real browser on a real server over the small trained home. Without chromium these tests are skipped, and say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.console.server import CHROMIUM, Server, Watched, copied
from tests.serving.conftest import trained

__all__ = ["trained"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: `make setup` does it")
    if CHROMIUM is None:
        pytest.skip("there is no chromium: `make browser` installs it")
    with api.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def shared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a module."""
    server = Server(copied(trained, tmp_path_factory.mktemp("console") / "home"))
    yield server
    server.close()


@pytest.fixture
def own(trained: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own."""
    server = Server(copied(trained, tmp_path / "home"))
    yield server
    server.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Watched]]:
    """Opens a view as somebody, in a browser that knows nothing; fails the test that made the page complain."""
    opened: list[tuple[Any, Watched]] = []

    def to(server: Server, route: str = "", user: str | None = "u1", **settings: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        context.set_default_timeout(10_000)
        page = context.new_page()
        watched = Watched(page, server.url)
        opened.append((context, watched))
        server.guests.append(context)
        if user is not None:
            page.add_init_script(
                f"if (window === top && !sessionStorage.getItem('upnext.user')) "
                f"sessionStorage.setItem('upnext.user', {user!r})"
            )
        page.goto(f"{server.url}/{route}")
        return watched

    yield to
    for context, _ in opened:
        context.close()
    assert [problem for _, watched in opened for problem in watched.problems] == []
