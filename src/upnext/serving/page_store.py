"""Chains of pages where every worker, and the next process after a restart, finds them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from upnext.serving.pages import MAX_AGE_S, Chain
from upnext.serving.question import Question
from upnext.storage.shelf import Shelf

FILE = "var/pages.db"  # in the home
WAIT_S = 0.2  # for another worker to write what it has just answered


class PageStore:
    """A chain as it was at each of its pages, by the page's recommendation_id."""

    def __init__(self, path: Path) -> None:
        self._shelf = Shelf(path, MAX_AGE_S)

    def put(self, recommendation_id: str, chain: Chain) -> None:
        stored = {"question": asdict(chain.question), "shown": chain.shown, "length": chain.length}
        self._shelf.put(recommendation_id, json.dumps(stored))

    def find(self, recommendation_id: str) -> Chain | None:
        text = self._shelf.find(recommendation_id, WAIT_S)
        if text is None:
            return None
        stored = json.loads(text)
        return Chain(Question(**stored["question"]), stored["shown"], stored["length"])

    def close(self) -> None:
        self._shelf.close()
