"""The results as tables: once as data (the report draws the same), once in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from upnext.evaluation.results import BASELINE, FUNNEL, UNION, Numbers, Results, Task, ratio

BINARY = ("rows", "positives", "auc", "gauc", "ece", "log_loss")
SECONDS = ("rows", "mae", "xauc")
COMPARED = ("recall", "ndcg", "value", "hit", "mrr", "auc", "gauc", "mae", "xauc")  # beginnings of measures

TITLES: Mapping[str, tuple[str, str]] = {
    "candidates": (
        "Candidates",
        "recall@k: how much of what people chose next is among a source's first k. share: of the union's rows.",
    ),
    "ranking": (
        "Ranking",
        "auc: the chance that a positive scores above a negative. gauc: the same within each user. "
        "ece: how far predicted and real rates lie apart.",
    ),
    "seconds": (
        "Ranking: time watched",
        "mae: seconds off. xauc: how often two rows are put in the right order.",
    ),
    "slate": (
        "Slate",
        "ndcg, recall: what people chose next, and how near the top. value: share of what that was worth (clicks, "
        "watch time... as weighted). coverage: share of the catalogue shown to anybody. diversity: mean difference "
        "within a slate. novelty: bits of surprise. fresh: share of new items.",
    ),
    "oracle": ("Against the oracle", "What is possible when true preferences are known."),
    "cold": ("Cold start", "Users and items that training never saw."),
    "timing": ("Time", ""),
}


@dataclass(frozen=True, slots=True)
class Headline:
    name: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    times: str = ""  # how many times popularity, such as "3.4×"


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    cells: tuple[Cell, ...]
    baseline: bool = False
    whole: bool = False  # what the stage as a whole achieves


@dataclass(frozen=True, slots=True)
class Section:
    """One table; ``key`` is the part of the results that it shows."""

    key: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def sections(results: Results) -> list[Section]:
    """A section a stage, in the order of the funnel, then what else was measured."""
    stages = results["stages"]
    found = [
        _compared("candidates", stages["candidates"]),
        _tasks("ranking", stages["ranking"], BINARY),
        _tasks("seconds", stages["ranking"], SECONDS),
        _compared("slate", stages["slate"]),
        _listed("oracle", results.get("oracle", {})),
        _compared("cold", results.get("cold", {})),
        _compared("timing", results.get("timing", {})),
    ]
    return [section for section in found if section.rows]


def headlines(results: Results) -> list[Headline]:
    """The few numbers to look at first: the slate, what reaches the ranker, the weakest task of each kind."""
    stages, found = results["stages"], []
    for table, name, start in ((stages["slate"], FUNNEL, "ndcg"), (stages["candidates"], UNION, "recall")):
        numbers = table.get(name, {})
        measures = [measure for measure in numbers if measure.startswith(start)]
        if measures:
            deepest = max(measures, key=_depth)
            cell = _cell(deepest, numbers[deepest], table.get(BASELINE, {}).get(deepest))
            found.append(Headline(f"{deepest}, {name}", cell.text, cell.times and f"{cell.times} {BASELINE}"))
    for measure, name, weakest in (("auc", "lowest auc", min), ("ece", "highest ece", max), ("xauc", "xauc", min)):
        of_task = {task: _numbers(numbers, (measure,)).get(measure) for task, numbers in stages["ranking"].items()}
        known = {task: value for task, value in of_task.items() if value is not None and math.isfinite(value)}
        if known:
            task = weakest(known, key=known.__getitem__)
            found.append(Headline(name, number(known[task]), task))
    return found


def show(results: Results, console: Console) -> None:
    """Print every section; the number after a value is how many times popularity it is."""
    window = " · ".join(f"{name} {number(value)}" for name, value in results["window"].items())
    console.print(Text(f"model {results['model_version']} · {results['users']:,} users · {window}"))
    for line in headlines(results):
        console.print(Text.assemble(f"{line.name:<26}", (f"{line.value:>8}", "bold"), f"  {line.detail}"))
    for section in sections(results):
        console.print(Text(f"\n{section.title}", style="bold"))
        console.print(_fitting(section, console))
        if section.note:
            console.print(Text(section.note, style="dim"))


def rich_table(section: Section, compared: int = 100, gap: int = 1) -> Table:
    """The first ``compared`` columns also say how many times popularity they are, in a column of its own."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    with_times = [n < compared and any(row.cells[n].times for row in section.rows) for n in range(len(section.columns))]
    for column, times in zip(section.columns, with_times, strict=True):
        table.add_column(Text(column.replace("_", " ")), justify="right", no_wrap=True)
        if times:
            table.add_column("", justify="right", no_wrap=True, style="dim")
    for row in section.rows:
        cells: list[str] = []
        for cell, times in zip(row.cells, with_times, strict=True):
            cells += [cell.text, cell.times] if times else [cell.text]
        table.add_row(Text(row.name), *cells, style="bold" if row.whole else "dim" if row.baseline else "")
    return table


def _fitting(section: Section, console: Console) -> Table:
    """The table with as many comparisons as the terminal is wide enough for, and closer together if it must be."""
    anything = console.options.update(max_width=10_000)
    for compared in range(len(section.columns), -1, -1):
        table = rich_table(section, compared)
        if console.measure(table, options=anything).maximum <= console.width:
            return table
    return rich_table(section, 0, gap=0)


def number(value: object) -> str:
    """Counts with thousands separators, other numbers with three or four digits, – where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.4f}"


def _compared(key: str, table: Mapping[str, Numbers]) -> Section:
    columns = tuple(dict.fromkeys(measure for numbers in table.values() for measure in numbers))
    base = table.get(BASELINE, {})
    rows = [_row(name, columns, numbers, base) for name, numbers in table.items() if numbers]
    title, note = TITLES[key]
    depths = {_depth(measure) for measure in columns if "@" in measure}
    if len(depths) == 1:  # said once: terminals are narrow
        columns = tuple(measure.partition("@")[0] for measure in columns)
        title = f"{title}, the first {depths.pop()}"
    return Section(key, title, note, columns, tuple(rows))


def _tasks(key: str, tasks: Mapping[str, Task], measures: Sequence[str]) -> Section:
    """The tasks that have any of the measures but counts, each with popularity below it where that was measured."""
    found = {name: _numbers(task, measures) for name, task in tasks.items()}
    found = {name: numbers for name, numbers in found.items() if set(numbers) - {"rows", "positives"}}
    columns = tuple(measure for measure in measures if any(measure in numbers for numbers in found.values()))
    rows: list[Row] = []
    for name, numbers in found.items():
        base = tasks[name].get("popularity", {})
        rows.append(_row(name, columns, numbers, base))
        if base:
            rows.append(_row(BASELINE, columns, base, {}))
    return Section(key, *TITLES[key], columns, tuple(rows))


def _depth(measure: str) -> int:
    k = measure.rpartition("@")[2]
    return int(k) if k.isdigit() else 0


def _listed(key: str, numbers: Numbers) -> Section:
    rows = tuple(Row(name, (Cell(number(value)),)) for name, value in numbers.items())
    return Section(key, *TITLES[key], ("value",), rows)


def _numbers(task: Task, measures: Sequence[str]) -> Numbers:
    found = {measure: task.get(measure) for measure in measures}
    return {measure: value for measure, value in found.items() if isinstance(value, int | float)}


def _row(name: str, columns: Sequence[str], numbers: Numbers, base: Numbers) -> Row:
    baseline = name == BASELINE
    cells = (_cell(column, numbers.get(column), None if baseline else base.get(column)) for column in columns)
    return Row(name, tuple(cells), baseline, name in (UNION, FUNNEL))


def _cell(measure: str, value: float | None, base: float | None) -> Cell:
    times = ratio(value, base) if measure.startswith(COMPARED) else None
    return Cell(number(value), "" if times is None else f"{times:.1f}×" if times < 100 else f"{times:.0f}×")
