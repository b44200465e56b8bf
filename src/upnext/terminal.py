"""Answers as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

REASONS = 2  # the rest is in the JSON


def answer_table(answer: Mapping[str, Any]) -> RenderableType:
    """One answer of the engine: what it rests on, the items with their reasons, and how long it took."""
    table = Table("", "item", "score", "why", box=None, pad_edge=False)
    for entry in answer["items"]:
        score = "-" if entry["score"] is None else f"{entry['score']:.3f}"
        table.add_row(str(entry["position"] + 1), entry["item_id"], score, "; ".join(entry["reasons"][:REASONS]))
    parts: list[RenderableType] = [Text(f"Based on {answer['basis']}"), table]
    parts += [Text(f"Degraded: {reason}", style="yellow") for reason in answer["degraded"]]
    parts.append(Text(f"{answer['took_ms']:.1f} ms, model {answer['model_version']}", style="dim"))
    return Group(*parts)
