"""What a training leaves behind besides the files in its draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from upnext.config import Config, TaskConfig
from upnext.training.against_active import Held
from upnext.training.examples import Examples

ExampleKind = Literal["impressions", "choices"]


@dataclass(frozen=True)
class Fit:
    """A fitted version: what goes into its manifest, and the rows that it can be judged on."""

    metrics: Mapping[str, Any]
    tasks: Mapping[str, TaskConfig]
    feature_names: tuple[str, ...]
    details: Mapping[str, Any]
    held: Held | None


def learned_until(examples: Examples, validation_from: int, otherwise: int) -> int:
    """The moment (ms) of the first request that the ranker did not learn from."""
    now = examples.moments.now
    return int(now[validation_from]) if validation_from < len(now) else otherwise


def architecture(config: Config) -> dict[str, Any]:
    """The settings that decide what the weights are of, by key: two versions must agree in them to share weights."""
    c, r = config.candidates, config.ranking
    found: dict[str, Any] = {f"features.{key}": value for key, value in config.features.model_dump(mode="json").items()}
    for name in ("als", "two_tower", "because_you_watched"):
        found[f"candidates.{name}.enabled"] = getattr(c, name).enabled
    found["candidates.als.embedding_size"] = c.als.embedding_size
    for key in ("embedding_size", "history_size", "encoder"):
        found[f"candidates.two_tower.{key}"] = getattr(c.two_tower, key)
    for key in ("embedding_size", "experts", "attention_heads", "history_size"):
        found[f"ranking.{key}"] = getattr(r, key)
    found["ranking.expert_sizes"] = list(r.expert_sizes)
    for name, task in r.tasks.items():
        for key in ("event", "kind", "cap"):
            found[f"ranking.tasks.{name}.{key}"] = getattr(task, key)
    return found
