"""A dial changes the order; saving writes the configuration, and undoing brings it back."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

from tests.console.server import Server, Watched, until

Visit = Callable[..., Watched]


def slate(page: Any, which: str) -> list[str]:
    found: list[str] = page.locator(f'[data-slate="{which}"] > li').evaluate_all("all => all.map(o => o.dataset.item)")
    return found


def turn(page: Any, dial: str, value: str) -> None:
    with page.expect_response("**/v1/console/dials/preview"):
        page.locator(f'[data-dial="{dial}"]').fill(value)
    page.wait_for_load_state("networkidle")


def test_a_dial_changes_the_order_and_is_saved_and_undone(visit: Visit, own: Server) -> None:
    page = visit(own, "#/dials").page
    page.locator('[data-slate="then"]').wait_for()
    assert slate(page, "now") == slate(page, "then")
    turn(page, "diversity", "0.9")
    until(page, "document.getElementById('moves').textContent.includes('moved')")
    before, after = slate(page, "now"), slate(page, "then")
    assert before != after
    assert settings(own)["reranking"].get("diversity", 0.2) == 0.2, "nothing is saved yet"
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved in upnext.toml").wait_for()
    assert page.evaluate("document.activeElement.id") == "undo", "the keyboard goes on there"
    assert settings(own)["reranking"]["diversity"] == 0.9
    until(page, "document.getElementById('moves')?.textContent.includes('same page')")
    assert slate(page, "now") == after, "the server answers by it"
    page.get_by_role("button", name="Undo last save").click()
    page.get_by_text("The last saving was undone").wait_for()
    assert settings(own)["reranking"].get("diversity", 0.2) == 0.2
    until(page, "document.getElementById('undo').disabled")
    until(page, "document.getElementById('moves')?.textContent.includes('same page')")
    assert slate(page, "now") == before


def test_a_dial_without_effect_says_so(visit: Visit, own: Server) -> None:
    page = visit(own, "#/dials").page
    page.get_by_text("how much value is held to what people choose").wait_for()

    def without_choices(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "choices": False})

    page.route("**/v1/console/dials", without_choices)
    page.reload()
    page.get_by_text("without effect here").wait_for()


def settings(server: Server) -> dict[str, Any]:
    return tomllib.loads((server.home.directory / "upnext.toml").read_text(encoding="utf-8"))
