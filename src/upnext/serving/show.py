"""Answers as people read them in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def recommendation_table(answer: Mapping[str, Any]) -> RenderableType:
    """The items of an answer with their reasons, what it rests on, and what was degraded."""
    table = Table(box=None, pad_edge=False)
    for name, align in (("", "right"), ("item", "left"), ("score", "right"), ("source", "left"), ("why", "left")):
        table.add_column(name, justify="right" if align == "right" else "left", overflow="fold")
    for row in answer["items"]:
        score = "" if row["score"] is None else f"{row['score']:.3g}"
        cells = (str(row["position"] + 1), row["item_id"], score, ", ".join(row["source"]), "; ".join(row["reasons"]))
        table.add_row(*(Text(cell) for cell in cells))
    model = answer["model_version"] or "none"
    lines = [f"Rests on: {answer['basis']}. Model: {model}. {answer['took_ms']:.1f} ms."]
    lines += [f"Note: {note}" for note in answer["notes"]] + [f"Degraded: {entry}" for entry in answer["degraded"]]
    return Group(table, *(Text(line, style="dim") for line in lines))
