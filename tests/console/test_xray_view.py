"""The x-ray shows the very numbers of the answer that it is of."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.console.server import Server, Watched, until
from tests.console.test_watch import items_of, served

Visit = Callable[..., Watched]


def number(text: str) -> float:
    return float(text.replace(",", "").replace("–", "nan"))


def test_the_numbers_equal_the_trace_of_the_answer(visit: Visit, shared: Server) -> None:
    page = visit(shared).page
    served(page)  # else its first answer may be caught, and is gone with the reload
    with page.expect_response("**/v1/console/page") as caught:
        page.reload()
    answer = caught.value.json()
    served(page)
    page.get_by_role("link", name="X-ray").click()
    page.locator("[data-candidate]").first.wait_for()
    trace = {(stage["stage"], stage["name"]): stage for stage in answer["stages"]}
    sources = [name for (stage, name) in trace if stage == "candidates" and name != "merge" and "filter" not in name]
    assert len(sources) == 7
    for name in sources:
        assert number(page.locator(f'[data-proposed="{name}"]').inner_text()) == trace["candidates", name]["rows_out"]
    filters = [name for (_, name) in trace if name.startswith("filter ")]
    for name in filters:
        stage = trace["candidates", name]
        shown = page.locator(f'[data-removed="{name.removeprefix("filter ")}"]').inner_text()
        assert number(shown) == stage["rows_in"] - stage["rows_out"]
    for (stage, name), entry in trace.items():
        shown = number(page.locator(f'[data-stage="{stage}/{name}"]').inner_text())
        assert abs(shown - entry["ms"]) <= max(0.006, 0.01 * entry["ms"])
    ranked = trace["ranking", "multi_task"]["rows_out"]
    assert number(page.locator('[data-step="ranked"]').inner_text()) == ranked
    shown_items = {row["item_id"] for row in answer["rows"][0]["items"]}
    listed = page.locator("tr.shown").evaluate_all("rows => rows.map(row => row.dataset.candidate)")
    assert set(listed) == shown_items


def test_the_path_of_a_card_and_of_an_item_that_fell_out(visit: Visit, shared: Server) -> None:
    page = visit(shared, user="u5").page
    served(page)
    first = items_of(page, "for_you")[0]
    page.locator(f'[data-item="{first}"] a').click()
    page.locator("#outcome").wait_for()
    assert page.locator("#outcome").inner_text() == "Shown at place 1 of 12"
    text = page.locator("#path").inner_text()
    for part in ("Proposed by", "Passed all filters", "Predicted", "Features that mattered", "Value", "Re-ranked"):
        assert part in text
    shared.api.post("/v1/events", json={"event_type": "watch", "user_id": "u5", "item_id": "i9", "value": 400})
    page.get_by_role("link", name="Watch", exact=True).click()
    served(page)
    page.get_by_role("button", name="Rank again").click()
    until(page, "document.getElementById('change').textContent.includes('Ranked')")
    page.get_by_role("link", name="X-ray").click()
    for item in ("i9", fallen(shared)):
        box = page.get_by_role("combobox", name="Any item")
        box.click()
        box.fill(item)
        page.locator(f".options li:has-text('· {item}')").first.wait_for()
        page.keyboard.press("Enter")
        page.locator(f"#path :text('· {item}')").first.wait_for()
        said = shared.api.get(
            "/v1/console/xray/item",
            params={"user_id": "u5", "item_id": item, "recommendation_id": page_id(page)},
        ).json()
        assert page.locator("#outcome").get_attribute("data-stage") == said["stage"] != "shown"


def test_a_row_that_is_an_answer_of_its_own_has_its_own_funnel(visit: Visit, shared: Server) -> None:
    page = visit(shared, user="u6").page
    served(page)
    chips = page.get_by_role("list", name="Which row").get_by_role("link")
    card = page.locator('[data-row="because"] .card[data-item]').nth(1)
    item = card.get_attribute("data-item")
    card.locator("a").click()
    page.locator("#outcome").wait_for()
    assert page.locator("#outcome").inner_text().startswith("Shown at place 2 of")
    assert chips.evaluate_all("all => all.map(one => one.getAttribute('aria-current'))") == [None, "true"]
    sources = page.locator("[data-proposed]").count()
    chips.first.click()
    until(page, f"document.querySelectorAll('[data-proposed]').length > {sources}")
    assert chips.evaluate_all("all => all.map(one => one.getAttribute('aria-current'))") == ["true", None]
    page.goto(f"{shared.url}/#/xray?item={item}")
    page.get_by_role("link", name="its path there").click()
    until(page, "document.getElementById('outcome')?.dataset.stage === 'shown'")
    assert page.locator("#outcome").inner_text().startswith("Shown at place 2 of")
    page.reload()
    page.locator("#outcome").wait_for()
    assert page.locator("#outcome").inner_text().startswith("Shown at place 2 of")


def test_the_value_is_the_weighted_sum_times_the_choice(visit: Visit, shared: Server) -> None:
    page = visit(shared, user="u8").page
    served(page)
    item = items_of(page, "for_you")[3]
    page.goto(f"{shared.url}/#/xray?item={item}")
    page.locator("#held").wait_for()
    asked = {"user_id": "u8", "item_id": item, "recommendation_id": page_id(page)}
    said = shared.api.get("/v1/console/xray/item", params=asked).json()
    total, factor, value = map(number, re.findall(r"[\d.,]+", page.locator("#held").inner_text()))
    for shown, meant in ((total, said["held"]["sum"]), (factor, said["held"]["factor"]), (value, said["value"])):
        assert abs(shown - meant) <= 0.01 * abs(meant)
    assert "not the probability of a task" in page.locator("#path").inner_text()
    assert "choice" not in page.locator("#path .facts").inner_text()


def fallen(server: Server) -> str:
    """An item that is ranked low for u5."""
    for number_ in range(399, 0, -1):
        path = server.api.get("/v1/explain", params={"user_id": "u5", "item_id": f"i{number_}", "n": 12}).json()
        if path["stage"] == "reranking" and path["place_before_reranking"] > 60:
            return f"i{number_}"
    raise AssertionError("everything is shown")


def page_id(page: Any) -> str:
    found: str = page.evaluate("sessionStorage.getItem('upnext.page')")
    return found
