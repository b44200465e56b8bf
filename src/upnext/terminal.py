"""Answers as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def answer_table(answer: Mapping[str, Any]) -> RenderableType:
    """One answer of the engine: what it rests on, the items with their reasons, and how long it took."""
    table = Table("", "item", "score", "proposed by", "why", box=None, pad_edge=False)
    for entry in answer["items"]:
        reasons = "; ".join(entry["reasons"])
        sources = entry["source"] if isinstance(entry["source"], str) else ", ".join(entry["source"])
        table.add_row(str(entry["position"] + 1), entry["item_id"], f"{entry['score']:.4f}", sources, reasons)
    parts: list[RenderableType] = [Text(f"Based on {answer['basis']}"), table]
    parts += [Text(f"Degraded: {reason}", style="yellow") for reason in answer["degraded"]]
    parts.append(Text(f"{answer['took_ms']:.1f} ms, model {answer['model_version']}", style="dim"))
    return Group(*parts)
