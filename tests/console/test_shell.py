"""The shell: what is sent and how, a server that stops and comes back, the key, the keyboard, and accessibility."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.console.server import Server, Watched, copied, until
from tests.console.test_watch import served
from upnext.home import Home

Visit = Callable[..., Watched]
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
KEY = "a key of sixteen or more"
VIEWS = ("watch", "xray?item=i3", "dials", "catalogue?item=i3", "health")


def test_a_stopped_server_is_said_and_the_page_recovers_by_itself(visit: Visit, own: Server) -> None:
    watched = visit(own)
    page = watched.page
    served(page)
    watched.forgiven = True  # the browser reports every call that nobody answers
    own.stop()
    page.get_by_text("The server does not answer. Trying again").wait_for()
    page.get_by_role("link", name="Health").click()
    page.get_by_role("heading", name="The server does not answer").wait_for()
    own.start()
    page.locator("#tiles").wait_for()
    assert page.locator("#connection").is_hidden()
    watched.forgiven = False
    page.get_by_role("link", name="Watch", exact=True).click()
    served(page)


def test_a_key_is_asked_for_once(visit: Visit, trained: Path, tmp_path: Path) -> None:
    server = Server(copied(trained, tmp_path / "home", f"serving.api_key={KEY}"))
    try:
        assert server.api.get("/v1/console/health").status_code == 401
        watched = visit(server)
        watched.forgiven = True  # the browser reports the refused calls
        page = watched.page
        page.get_by_label("API key").fill("a wrong one, of course")
        page.keyboard.press("Enter")
        page.get_by_text("did not accept this key").wait_for()
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        served(page)
        watched.forgiven = False
        page.reload()
        served(page)
        page.get_by_role("link", name="Health").click()
        page.locator("#tiles").wait_for()
    finally:
        server.close()


def test_an_empty_home_is_no_error(visit: Visit, tmp_path: Path) -> None:
    server = Server(Home.create(tmp_path / "bare"))
    try:
        page = visit(server).page
        for view, said in (
            ("watch", "There is nothing to show"),
            ("xray", "How u1’s page came about"),
            ("dials", "Nothing to weigh yet"),
            ("catalogue", "The catalogue is empty"),
            ("health", "No version is published yet"),
        ):
            page.goto(f"{server.url}/#/{view}")
            page.get_by_text(said).first.wait_for()
            assert page.locator(".empty[role=alert]").count() == 0
    finally:
        server.close()


def test_files_have_types_etags_and_a_strict_policy(shared: Server) -> None:
    page = shared.api.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    again = shared.api.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for path, kind in (("js/main.js", "text/javascript"), ("css/base.css", "text/css"), ("icon.svg", "image/svg+xml")):
        found = shared.api.get(f"/console/{path}")
        assert found.headers["content-type"].startswith(kind)
        assert found.headers["x-content-type-options"] == "nosniff"
    for path in ("nothing.js", "../engine.py", "%2e%2e/config.py", "js"):
        assert shared.api.get(f"/console/{path}").status_code == 404


def test_nothing_in_the_files_reads_html_or_asks_others() -> None:
    from upnext.serving.console.assets import assets

    assert {"index.html", "js/main.js", "css/tokens.css"} <= set(assets())
    for path, asset in assets().items():
        text = asset.body.decode()
        assert len(text.splitlines()) <= 400, f"{path} is long"
        for never in (
            "innerHTML =",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "//cdn",
            "https://",
        ):
            assert never not in text, f"{path}: {never}"


def test_it_can_be_used_by_keyboard_alone(visit: Visit, shared: Server) -> None:
    page = visit(shared).page
    served(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "card-open":
            break
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert dialog.evaluate("dialog => dialog.contains(document.activeElement)")
    page.keyboard.press("Escape")
    until(page, "document.getElementById('change').textContent.includes('Ranked again')")
    page.locator(".who").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("u9")
    page.get_by_role("option").filter(has_text="u9").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('h1').textContent === 'u9'")
    assert page.evaluate("document.activeElement.className") == "who"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_kept_out(visit: Visit, shared: Server, theme: str) -> None:
    """axe-core finds nothing serious in any view."""
    page = visit(shared, "#/health", color_scheme=theme).page
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    axe = AXE.read_text(encoding="utf-8")
    found = []
    for view in VIEWS:
        page.goto(f"{shared.url}/#/{view}")
        page.wait_for_load_state("networkidle")
        until(page, "!document.querySelector('main .skeleton')")
        page.evaluate(axe)  # not as a script of the page: its policy refuses that
        result: Any = page.evaluate("axe.run(document, {iframes: false, resultTypes: ['violations']})")
        found += [
            (view, violation["id"], violation["impact"], [node["html"][:160] for node in violation["nodes"][:3]])
            for violation in result["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
    assert found == []
