"""Who trains the networks of a version: this process, or workers elsewhere (distributed/crew.py)."""

from __future__ import annotations

from typing import Protocol

from upnext.content import Vocabulary
from upnext.training.progress import Progress, Step
from upnext.training.ranker_fit import RankerFit
from upnext.training.tower_trainer import TowerTrainer
from upnext.types import Int64


class Crew(Protocol):
    """Both leave the best weights in the networks that they are given."""

    def towers(self, trainer: TowerTrainer, rows: Int64, queries: Int64, step: Step) -> list[float]:
        """As TowerTrainer.fit."""
        ...

    def ranker(self, fit: RankerFit, vocabulary: Vocabulary, progress: Progress) -> list[dict[str, float]]:
        """As RankerFit.run."""
        ...


class Here:
    """This process."""

    def towers(self, trainer: TowerTrainer, rows: Int64, queries: Int64, step: Step) -> list[float]:
        return trainer.fit(rows, queries, step)

    def ranker(self, fit: RankerFit, vocabulary: Vocabulary, progress: Progress) -> list[dict[str, float]]:
        return fit.run(progress)


HERE = Here()
