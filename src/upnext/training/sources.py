"""Fits every enabled source on the feedback before a moment, into a folder that serving can load."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from upnext.build import SOURCES_FOLDER
from upnext.config import Config
from upnext.content import Vocabulary
from upnext.training.als import fit_als
from upnext.training.co_visitation import fit_co_visitation
from upnext.training.data import TrainingData
from upnext.training.progress import Progress
from upnext.training.two_tower import fit_two_tower


def fit_sources(
    data: TrainingData,
    vocabulary: Vocabulary,
    before: int,
    config: Config,
    directory: Path,
    seed: int,
    progress: Progress,
    searched: bool = True,
) -> dict[str, object]:
    """Write ``directory/sources/<name>`` for each model; returns what is worth noting in the manifest.

    Not ``searched``, they only score: the two-tower model gets no index.
    """
    interactions, events = data.interactions(before)
    folder, c, threads = directory / SOURCES_FOLDER, config.candidates, config.training.threads
    metrics: dict[str, object] = {"interactions": len(interactions)}
    if c.als.enabled:
        fit_als(interactions, c.als, seed, threads, progress).save(folder / "als")
    if c.because_you_watched.enabled:
        fit_co_visitation(interactions, c.because_you_watched, progress).save(folder / "because_you_watched")
    if c.two_tower.enabled:
        model = fit_two_tower(
            interactions,
            data.content(vocabulary),
            vocabulary,
            data.attributes(vocabulary),
            c.two_tower,
            seed=seed,
            threads=threads,
            progress=progress,
            surface=data.surfaces(events, vocabulary),
            validation_from=int(np.quantile(interactions.at, 1 - config.training.validation_share)),
        )
        model.save(folder / "two_tower", progress, searched)
        metrics["two_tower_validation_recall"] = [round(float(value), 5) for value in model.recall]
    return metrics
