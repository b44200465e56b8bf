from __future__ import annotations

import threading
import time
from pathlib import Path

from upnext.storage.shelf import Shelf


def test_another_process_finds_what_was_put(tmp_path: Path) -> None:
    one, other = Shelf(tmp_path / "var" / "shelf.db", 60.0), Shelf(tmp_path / "var" / "shelf.db", 60.0)
    one.put("a", "first")
    one.put("a", "second")
    one.put("b", "x" * 100_000)
    one.close()
    assert other.find("a") == "second"
    assert other.find("b") == "x" * 100_000
    assert other.find("c") is None
    other.close()


def test_waits_for_what_is_on_its_way(tmp_path: Path) -> None:
    one, other = Shelf(tmp_path / "shelf.db", 60.0), Shelf(tmp_path / "shelf.db", 60.0)
    threading.Timer(0.1, lambda: one.put("late", "here")).start()
    assert other.find("late") is None
    assert other.find("late", wait_s=10.0) == "here"
    one.close()
    other.close()


def test_forgets_after_its_age_and_outlives_its_process(tmp_path: Path) -> None:
    first = Shelf(tmp_path / "shelf.db", 0.2)
    first.put("a", "1")
    first.close()
    again = Shelf(tmp_path / "shelf.db", 0.2)
    time.sleep(0.3)
    assert again.find("a") is None
    again.close()
