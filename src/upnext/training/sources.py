"""Fits every enabled source on the feedback before a moment, into a folder that serving can load.

What comes after the moment, if anything does, tells the towers when to stop, and co-visitation how much the order of
events says. Later, when everything is learned from, both do as was best then.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from upnext.build import SOURCES_FOLDER
from upnext.candidates.because_you_watched import Reading
from upnext.config import Config
from upnext.content import Vocabulary
from upnext.training.als import fit_als
from upnext.training.co_visitation import fit_co_visitation
from upnext.training.crew import HERE, Crew
from upnext.training.data import TrainingData
from upnext.training.progress import Progress
from upnext.training.reading import find_reading
from upnext.training.two_tower import fit_two_tower

LONGER = 2  # times the epochs that were best for the early towers: those stopped while their rate was high


@dataclass(frozen=True, slots=True)
class SourcesFit:
    """What is worth noting of fitted sources."""

    interactions: int
    recall: tuple[float, ...] = ()  # of the towers, by epoch, on what came after the moment; () = nothing did
    reading: Reading | None = None  # of histories, by co-visitation; None = it is not enabled

    @property
    def best_epochs(self) -> int | None:
        """How many epochs led to the best towers."""
        return int(np.argmax(self.recall)) + 1 if self.recall else None

    def metrics(self) -> dict[str, object]:
        """As manifests have it."""
        found: dict[str, object] = {"interactions": self.interactions}
        if self.recall:
            found["two_tower_validation_recall"] = [round(value, 5) for value in self.recall]
        if self.reading is not None:
            found["because_you_watched_reading"] = asdict(self.reading)
        return found


def fit_sources(
    data: TrainingData,
    vocabulary: Vocabulary,
    before: int,
    config: Config,
    directory: Path,
    seed: int,
    progress: Progress,
    earlier: SourcesFit | None = None,
    crew: Crew = HERE,
) -> SourcesFit:
    """Write ``directory/sources/<name>`` for each model.

    ``earlier`` is a fit on a part, which found out how many epochs the towers need; without it, this is that fit, and
    what it leaves behind is not meant to last.
    """
    interactions, _ = data.interactions(before)
    folder, c, threads = directory / SOURCES_FOLDER, config.candidates, config.training.threads
    found = SourcesFit(len(interactions)) if earlier is None else replace(earlier, interactions=len(interactions))
    if c.als.enabled:
        fit_als(interactions, c.als, seed, threads, progress).save(folder / "als")
    if c.because_you_watched.enabled:
        everything, _ = data.interactions(data.until)
        length = config.features.history_size
        reading = found.reading or find_reading(everything, before, c.because_you_watched, length, seed, progress)
        fitted = fit_co_visitation(interactions, c.because_you_watched, progress, reading)
        fitted.save(folder / "because_you_watched")
        found = replace(found, reading=reading)
    if c.two_tower.enabled:
        everything, events = data.interactions(data.until)
        epochs = c.two_tower.epochs
        if (best := found.best_epochs) is not None:
            epochs = min(epochs, LONGER * best)
        model = fit_two_tower(
            everything,
            data.content(vocabulary),
            vocabulary,
            data.attributes(vocabulary),
            c.two_tower.model_copy(update={"epochs": epochs}),
            seed=seed,
            threads=threads,
            progress=progress,
            surface=data.surfaces(events, vocabulary),
            validation_from=before if before < data.until else None,
            crew=crew,
        )
        model.save(folder / "two_tower", progress, lasting=earlier is not None)
        found = replace(found, recall=found.recall or model.recall)
    return found
