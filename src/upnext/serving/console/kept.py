"""The last few answers that the console was given, whole: what the x-ray looks at and the dials rank again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from upnext.config import Config
from upnext.serving.engine import Engine
from upnext.serving.funnels import Funnels
from upnext.serving.question import Asked, Question
from upnext.types import Slate
from upnext.xray import CHOICE

MOST = 32  # answers, up to two a page; each holds about half a megabyte
SURFACE = "console"


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer and how it came about. ``fresh``: it was made for this look, nobody was shown it."""

    recommendation_id: str
    asked: Asked
    slate: Slate
    funnels: Funnels
    config: Config  # by which it was weighed
    fresh: bool = False

    @property
    def weights(self) -> dict[str, float]:
        """What a prediction of each task was worth."""
        return {name: task.weight for name, task in self.config.ranking.tasks.items()}

    @property
    def choice_power(self) -> float:
        """How much the value was held to what people choose; 0 where the model does not know that."""
        return self.config.ranking.choice_power if CHOICE in self.slate.considered else 0.0


class Pages:
    """Thread-safe; the oldest go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, page: Kept) -> None:
        with self._lock:
            self._kept[page.recommendation_id] = page
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)

    def find(self, recommendation_id: str) -> Kept | None:
        with self._lock:
            return self._kept.get(recommendation_id)

    def find_or_make(self, engine: Engine, recommendation_id: str, user_id: str, n: int) -> Kept:
        """The page that was served, or, where another process served it or it is long ago, one as of now."""
        found = self.find(recommendation_id) if recommendation_id else None
        if found is None or found.asked.question.user_id != user_id:
            asked = engine.ask(Question(user_id=user_id, n=n, surface=SURFACE))
            funnels = engine.funnels
            slate = funnels.whole(asked.requests, None, observe=False)
            found = Kept(recommendation_id, asked, slate, funnels, engine.config, fresh=True)
        return found
