"""The pictures of docs/console.md: every view, light and dark, and a phone's width, off a running server.

python -m benchmarks.console_shots --url http://127.0.0.1:8080 --user u42
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent.parent / "docs" / "console"
WIDE, PHONE = {"width": 1200, "height": 820}, {"width": 360, "height": 740}
SETTLE_MS = 700


def nothing(page: Any) -> None:
    pass


def watched(page: Any) -> None:
    page.locator('[data-row="for_you"] .card-open').nth(2).click()
    page.get_by_role("button", name="Watch to the end").click()
    page.locator("#change", has_text="Ranked again").wait_for()


def playing(page: Any) -> None:
    page.locator('[data-row="for_you"] .card-open').nth(1).click()
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(2500)
    page.get_by_role("button", name="Pause").click()


def path(page: Any) -> None:
    if page.viewport_size == WIDE:
        page.set_viewport_size({**WIDE, "height": 1500})  # as much as the path of one item takes
    page.locator("[data-candidate] .row-button").first.click()
    page.locator("#outcome").wait_for()
    page.evaluate("document.getElementById('path').scrollIntoView(); scrollBy(0, -90)")


def turned(page: Any) -> None:
    page.locator('[data-dial="weights.like"]').fill("5")
    page.locator('[data-dial="diversity"]').fill("0.5")
    page.locator("#moves", has_text="moved").wait_for()


def item(page: Any) -> None:
    page.locator(".result").nth(3).click()
    page.locator("#audience li").first.wait_for()


SHOTS: tuple[tuple[str, str, Callable[[Any], None]], ...] = (
    ("watch", "watch", watched),
    ("player", "watch", playing),
    ("xray", "xray", nothing),
    ("path", "xray", path),
    ("dials", "dials", turned),
    ("catalogue", "catalogue", item),
    ("health", "health", nothing),
)


def take(browser: Any, url: str, user: str, name: str, view: str, act: Callable[[Any], None], **settings: Any) -> None:
    context = browser.new_context(**settings)
    page = context.new_page()
    page.add_init_script(f"if (window === top) sessionStorage.setItem('upnext.user', {user!r})")
    page.goto(f"{url}/#/watch")
    page.locator("[data-item]").first.wait_for()
    if view != "watch":
        page.goto(f"{url}/#/{view}")
        page.wait_for_load_state("networkidle")
        page.locator("main .skeleton").first.wait_for(state="detached")
    act(page)
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=FOLDER / f"{name}.png")
    context.close()


def first_paint(browser: Any, url: str) -> float:
    """Milliseconds to the first contentful paint, in a browser that has nothing cached."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.wait_for_timeout(SETTLE_MS)
    ms: float = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    context.close()
    return ms


def smaller(file: Path) -> None:
    """256 colours are enough for pictures of a page."""
    from PIL import Image

    Image.open(file).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--user", default="u42")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        print(f"first paint: {sorted(first_paint(browser, given.url) for _ in range(5))[2]:.0f} ms, median of 5")
        for name, view, act in SHOTS:
            for theme in ("light", "dark"):
                shot = f"{name}-{theme}"
                take(browser, given.url, given.user, shot, view, act, viewport=WIDE, color_scheme=theme)
            if name != "player":
                take(browser, given.url, given.user, f"{name}-phone", view, act, viewport=PHONE)
        browser.close()
    for file in sorted(FOLDER.glob("*.png")):
        smaller(file)
        print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
