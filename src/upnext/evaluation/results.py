"""What an evaluation found, as plain data: written as JSON, shown as tables, drawn as a report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

BASELINE = "popularity"  # the row that every other is compared with
UNION = "union"
FUNNEL = "full funnel"
BEFORE = "before reranking"

Numbers = Mapping[str, float | None]
"""Measure -> value; None or NaN where it is not defined."""


class Task(TypedDict, total=False):
    """One head of the ranker; a task in seconds has ``mae`` and ``xauc`` instead of the AUCs."""

    rows: int
    positives: int
    auc: float | None
    gauc: float | None
    ece: float | None
    log_loss: float | None
    mae: float | None
    xauc: float | None
    popularity: Numbers  # the same measures of popularity alone
    reliability: Sequence[Sequence[float]]  # [mean prediction, rate, rows] a bin
    position_ctr: Sequence[float | None]  # rate of positives at position 0, 1, ...


class Stages(TypedDict):
    candidates: Mapping[str, Numbers]  # source, "union", "popularity" -> recall@k..., share
    ranking: Mapping[str, Task]
    slate: Mapping[str, Numbers]  # "full funnel", "before reranking", "popularity", each source -> ndcg@k...


class Found(TypedDict):
    window: Mapping[str, str | int | float]  # until when was trained, what was tested
    users: int
    model_version: str
    stages: Stages


class Results(Found, total=False):
    oracle: Numbers  # where the truth is known
    cold: Mapping[str, Numbers]  # new users, new items...
    timing: Mapping[str, Numbers]
    training: Mapping[str, Mapping[str, Sequence[float]]]  # model -> curve -> one number an epoch


def to_json(results: Results) -> str:
    """Indented JSON; a number that is not finite becomes null."""
    return json.dumps(_plain(results), indent=2, ensure_ascii=False, allow_nan=False)


def from_json(path: Path) -> Results:
    loaded: Results = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def ratio(value: float | None, base: float | None) -> float | None:
    """How many times ``base``; None where either is missing or the base is not above 0."""
    if value is None or base is None or not (math.isfinite(value) and base > 0):
        return None
    return value / base


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
