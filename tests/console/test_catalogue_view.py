"""An item added by hand is found, stands beside its like, and turns up on somebody's page, until it is deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.console.server import Server, Watched, until
from tests.console.test_watch import items_of, served

Visit = Callable[..., Watched]
EVIL = "<img src=x onerror=alert(1)>"


def add(page: Any, title: str, genres: str, item_id: str) -> None:
    page.get_by_role("button", name="Add an item").click()
    page.get_by_label("Title").fill(title)
    page.get_by_label("Genres").fill(genres)
    page.get_by_label("Length in seconds").fill("240")
    page.get_by_label("Id", exact=True).fill(item_id)
    page.get_by_role("button", name="Add it").click()
    page.locator("#neighbours li").first.wait_for()
    until(page, "document.activeElement.tagName === 'H2'")


def test_an_added_item_is_found_and_recommended_and_a_deleted_one_gone(visit: Visit, own: Server) -> None:
    page = visit(own, "#/catalogue").page
    genre = own.api.get("/v1/items/i1").json()["categories"][0]
    add(page, "Handmade Zebrawood", genre, "zebra-1")
    near = own.api.get("/v1/console/neighbours", params={"item_id": "zebra-1"}).json()["items"]
    text = page.locator("#neighbours").inner_text()
    assert all(item["title"] in text for item in near)
    page.get_by_label("Search items").fill("ZEBRAW")
    page.locator('.result[data-item="zebra-1"]').wait_for()
    assert page.locator(".result").count() == 1
    whose = next((user for user in (f"u{n}" for n in range(1, 100)) if "zebra-1" in on_page(own, user)), None)
    assert whose is not None, "nobody is shown the new item"
    page.goto(f"{own.url}/#/watch?user={whose}")
    served(page)
    page.goto(f"{own.url}/#/catalogue?item=zebra-1")
    page.get_by_role("button", name="Delete").click()
    page.keyboard.press("Enter")  # "Keep it" has the focus
    page.get_by_role("button", name="Delete it").wait_for(state="detached")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete it").click()
    page.get_by_text("is never shown again").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Deleted"
    assert "zebra-1" not in on_page(own, whose)
    page.goto(f"{own.url}/#/watch")
    served(page)
    page.get_by_role("button", name="Rank again").click()
    until(page, "document.getElementById('change').textContent.includes('Ranked')")
    assert "zebra-1" not in items_of(page)


def test_the_open_item_is_marked_among_the_results(visit: Visit, shared: Server) -> None:
    page = visit(shared, "#/catalogue").page
    marked = page.locator(".result[aria-current]")
    page.locator(".result").nth(2).click()
    page.locator("#audience li").first.wait_for()
    opened = page.locator(".result").nth(2).get_attribute("data-item")
    assert [marked.count(), marked.get_attribute("data-item")] == [1, opened]
    page.locator(".result").nth(4).click()
    until(page, f"document.querySelector('.result[aria-current]')?.dataset.item !== '{opened}'")
    assert marked.count() == 1
    again = marked.get_attribute("data-item")
    page.reload()
    marked.wait_for()
    assert marked.get_attribute("data-item") == again
    page.get_by_label("Search items").fill("no such title")
    until(page, "!document.querySelector('.result')")
    assert marked.count() == 0


def test_what_users_write_is_text_and_never_html(visit: Visit, own: Server) -> None:
    page = visit(own, "#/catalogue").page
    add(page, EVIL, "<b>bold</b>", "evil<1>")
    page.get_by_label("Search items").fill("onerror")
    page.locator(".result").first.wait_for()
    own.api.post("/v1/events", json={"event_type": "like", "user_id": "<i>u</i>", "item_id": "evil<1>"})
    page.goto(f"{own.url}/#/watch?user=%3Ci%3Eu%3C%2Fi%3E")
    served(page)
    assert page.locator("h1").inner_text() == "<i>u</i>"
    assert EVIL in page.locator(".lately").inner_text()
    page.goto(f"{own.url}/#/xray?item=evil%3C1%3E")
    page.locator("#outcome").wait_for()
    assert EVIL in page.locator("#path").inner_text()
    page.goto(f"{own.url}/#/dials")
    page.locator('[data-slate="then"]').wait_for()
    assert page.locator("img").count() == 0
    page.goto(f"{own.url}/#/catalogue")
    add(page, "Élan vitàl", "<b>bold</b>", "")
    assert "item=elan-vital" in page.evaluate("location.hash"), "an id that is made from a title can be read"


def test_a_mistake_is_said_at_its_field(visit: Visit, own: Server) -> None:
    watched = visit(own, "#/catalogue")
    page = watched.page
    page.get_by_role("button", name="Add an item").click()
    page.get_by_label("Title").fill("Something")
    page.get_by_label("Id", exact=True).fill("x" * 600)
    watched.forgiven = True  # the browser itself reports every answer of 422
    page.get_by_role("button", name="Add it").click()
    page.locator(".field-error:not(:empty)").wait_for()
    assert "item_id" in page.locator(".field-error:not(:empty)").inner_text()


def on_page(server: Server, user: str) -> list[str]:
    rows = server.api.post("/v1/console/page", json={"user_id": user}).json()["rows"]
    return [item["item_id"] for row in rows for item in row["items"]]
