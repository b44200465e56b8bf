"""Watching as somebody: a user is picked, a card is watched, and the next page is another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.console.server import Server, Watched, until

Visit = Callable[..., Watched]


def items_of(page: Any, row: str = "") -> list[str]:
    """The items on the page, in order; of one row, or of all."""
    place = f'[data-row="{row}"] ' if row else ""
    found: list[str] = page.locator(f"{place}.card[data-item]").evaluate_all("all => all.map(one => one.dataset.item)")
    return found


def served(page: Any) -> None:
    """Wait until a page is there."""
    page.locator('[data-row="for_you"] .card[data-item]').first.wait_for()


def ranked_again(page: Any) -> str:
    """Wait until the page was ranked anew; what it says about it."""
    until(page, "document.getElementById('change')?.textContent.includes('Ranked again')")
    text: str = page.locator("#change").inner_text()
    return text


def test_a_user_is_picked_and_what_was_watched_is_gone(visit: Visit, own: Server) -> None:
    page = visit(own, user=None).page
    page.get_by_role("combobox", name="Find a user").first.fill("u7")
    page.get_by_role("option").filter(has_text="u7").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    served(page)
    assert page.locator("h1").inner_text() == "u7"
    before = items_of(page)
    assert len(set(before)) == len(before), "no item is shown twice"
    watched = items_of(page, "for_you")[0]
    page.locator(".card-open").first.click()
    page.get_by_role("button", name="Watch to the end").click()
    said = ranked_again(page)
    assert "because you watched" in said
    after = items_of(page)
    assert watched not in after
    assert items_of(page, "for_you") != before[:12]
    path = own.api.get("/v1/explain", params={"user_id": "u7", "item_id": watched}).json()
    assert path["removed_by"] == "watched"


def test_every_act_is_a_real_event(visit: Visit, own: Server) -> None:
    page = visit(own, user="u3").page
    served(page)
    liked = items_of(page, "for_you")[1]
    page.locator(".card-open").nth(1).click()
    page.get_by_role("button", name="Play").click()
    until(page, "document.querySelector('[role=progressbar]').getAttribute('aria-valuenow') >= 20")
    page.get_by_role("button", name="Pause").click()
    for act in ("Like", "Share"):
        page.get_by_role("button", name=act, exact=True).click()
        page.locator(f"button[aria-pressed=true]:has-text('{act}')").wait_for()
    page.keyboard.press("Escape")
    ranked_again(page)
    hidden = items_of(page, "for_you")[2]
    with page.expect_response("**/v1/console/page"):
        page.locator(f'[data-item="{hidden}"]').get_by_role("button", name="Not interested").click()
    until(page, "document.getElementById('change').textContent.includes('not interested')")
    assert hidden not in items_of(page)
    history = own.api.post("/v1/console/page", json={"user_id": "u3"}).json()["history"]
    acts = {(entry["event"], entry["item_id"]) for entry in history}
    assert {(name, liked) for name in ("click", "watch", "like", "share")} <= acts
    assert ("hide", hidden) in acts
    seconds = next(entry["value"] for entry in history if entry["event"] == "watch" and entry["item_id"] == liked)
    assert seconds >= 20


def test_the_keyboard_goes_on_where_it_was(visit: Visit, own: Server) -> None:
    """After the page was ranked again: on the same card, in the same row if that is gone, or on the same button."""
    page = visit(own, user="u1").page
    served(page)
    focused = "document.activeElement.closest('[data-row]')?.dataset.row"
    page.get_by_role("button", name="Rank again").focus()
    page.keyboard.press("Enter")
    ranked_again(page)
    assert page.evaluate("document.activeElement.id") == "again"
    for row in ("for_you", "because"):
        hidden = items_of(page, row)[1]
        page.locator(f'[data-item="{hidden}"]').get_by_role("button", name="Not interested").focus()
        with page.expect_response("**/v1/console/page"):
            page.keyboard.press("Enter")
        until(page, f"!document.querySelector('[data-item={hidden}]')")
        assert page.evaluate(focused) == row
    staying = items_of(page, "trending")[0]
    page.locator(f'[data-item="{staying}"] .card-open').focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    until(page, "document.getElementById('change').textContent.includes('you opened')")
    assert page.evaluate("document.activeElement !== document.body")


def test_somebody_new_gets_a_page(visit: Visit, own: Server) -> None:
    page = visit(own, user=None).page
    page.get_by_role("button", name="Start as somebody new").first.click()
    served(page)
    assert page.locator("h1").inner_text().startswith("guest-")
    assert "popular and new items" in page.locator(".page-head").inner_text()
    page.locator(".card-open").first.click()
    page.get_by_role("button", name="Watch to the end").click()
    ranked_again(page)
    page.locator('[data-row="because"]').wait_for()
    assert len(set(items_of(page))) == len(items_of(page))


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_jumps_and_nothing_is_too_wide(visit: Visit, shared: Server, width: int) -> None:
    page = visit(shared, "#/health", viewport={"width": width, "height": 800}).page
    page.evaluate(
        "window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(one => window.shift += one.value))"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    for view in ("watch", "xray", "dials", "catalogue?item=i1"):
        page.goto(f"{shared.url}/#/{view}")
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(150)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{view} is {wide} px too wide"
    assert page.evaluate("window.shift") < 0.1
