"""Answers and model versions as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from upnext.batch.run import Summary
from upnext.errors import ArtifactError
from upnext.storage.artifacts import Manifest, Models

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


def batch_lines(done: Summary) -> RenderableType:
    """What a batch run wrote, of which moment, and how fast."""
    plan = done.plan
    rate = f"{done.answered:,} in {done.seconds:.1f} s: {done.answered / max(done.seconds, 1e-9):,.0f} users/s"
    parts = [
        Text(
            f"{done.target}: {plan.n} items for each of {plan.users:,} users, {done.target.stat().st_size / 1e6:.1f} MB"
        ),
        Text(f"As of {_when(plan.now)} UTC, log offset {plan.log_offset}, model {plan.model_version}", style="dim"),
        Text(rate if done.answered == plan.users else f"In this run {rate}", style="dim"),
    ]
    if done.degraded:
        parts.append(Text(f"Degraded for {done.degraded:,} users, such as: {done.example}", style="yellow"))
    return Group(*parts)


def versions_table(models: Models) -> RenderableType:
    """The published versions, oldest first, every file of them looked at."""
    active, versions = models.active(), models.versions()
    if not versions:
        return Text(f"{models.place}: no model version is published yet. `upnext train` makes one.")
    table = Table(box=None, pad_edge=False)
    for name in ("", "version", "created,\ntrained until", "events,\nsize", "validation"):
        table.add_column(name, no_wrap=True)
    damage: list[RenderableType] = []
    for version in versions:
        mark = "*" if version == active else ""
        try:
            table.add_row(mark, version, *_version_cells(models.check(version)))
        except ArtifactError as error:
            table.add_row(mark, version, "", "", "damaged", style="red")
            damage.append(Text(f"Damaged: {error}", style="red"))
    lost = [] if active is None or active in versions else [Text(f"Active, but gone: {active}", style="red")]
    return Group(table, *damage, *lost, Text("* = active", style="dim"))


def _version_cells(manifest: Manifest) -> tuple[str, ...]:
    events = f"{manifest.events:,}" if manifest.events else "?"  # one made by an earlier upnext
    size = f"{manifest.bytes / 1e6:.1f} MB"
    return f"{_when(manifest.created_at)}\n{_when(manifest.until_ms)}", f"{events}\n{size}", _validation(manifest)


def _validation(manifest: Manifest) -> str:
    """The figures of the ranker on its validation slice, one a line."""
    ranker = manifest.metrics.get("ranker")
    figures = ranker.get("validation", {}) if isinstance(ranker, Mapping) else {}
    shown = [f"{name} {value:.4f}" for name, value in figures.items() if isinstance(value, float) and name != "score"]
    return "\n".join([*shown, *(["(warm)"] if "warm" in manifest.details else [])]) or "-"


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
