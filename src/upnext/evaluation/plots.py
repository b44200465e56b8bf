"""The report's plots as inline SVG: matplotlib draws, the page's own text colour and font show through."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard

from upnext.errors import UpnextError
from upnext.evaluation.results import BASELINE, FUNNEL, UNION, Results, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#010203"  # stands for the page's text colour until the SVG is written
ACCENT, OTHER, MUTED = "#2f7fd3", "#7ab0e2", "#9aa3ad"  # legible on white and on near-black
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "upnext",
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
}

Draw = Callable[["Axes"], None]


def plots(results: Results) -> dict[str, list[str]]:
    """The SVGs of each section of the report. Raises UpnextError where matplotlib is not installed."""
    stages = results["stages"]
    tasks = stages["ranking"]
    drawn: dict[str, list[str]] = {
        "candidates": [_bars_of(stages["candidates"], "recall")],
        "ranking": [svg(_reliability(name, task), 2.9, 2.9) for name, task in tasks.items() if task.get("reliability")],
        "slate": [_bars_of(stages["slate"], "ndcg")],
        "training": [
            svg(_curve(f"{model}: {name.replace('_', ' ')}", values), 2.9, 2.1)
            for model, curves in results.get("training", {}).items()
            for name, values in curves.items()
            if sum(map(_known, values)) > 1
        ],
    }
    for name, task in tasks.items():
        rates = task.get("position_ctr", ())
        if any(map(_known, rates)):
            drawn["ranking"].append(svg(_positions(name, rates), 2.9, 2.1))
    return {key: [figure for figure in figures if figure] for key, figures in drawn.items()}


def svg(draw: Draw, width: float, height: float) -> str:
    """One plot of so many inches as an ``<svg>`` element that needs nothing from outside."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UpnextError("The report's plots need matplotlib: pip install 'upnext[train]'.") from error
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return inline(out.getvalue())


def inline(text: str) -> str:
    """The bare ``<svg>`` element, in the page's colour and font, without metadata, links or names of groups."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r" font-family: [^;\"]*;?", "", text)
    return text.replace(INK, "currentColor").strip()


def _bars_of(table: Mapping[str, Mapping[str, float | None]], start: str) -> str:
    """Bars of the deepest measure of that beginning; empty where no row has it."""
    measures = {name for numbers in table.values() for name in numbers if name.startswith(start)}
    if not measures:
        return ""
    measure = max(measures, key=lambda name: int(name.rpartition("@")[2]))
    values = {name: value for name, numbers in table.items() if _known(value := numbers.get(measure))}
    return svg(_bars(measure, values), 4.2, 0.5 + 0.26 * len(values))


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _bars(title: str, values: Mapping[str, float]) -> Draw:
    def draw(axes: Axes) -> None:
        names = list(values)[::-1]
        colours = [ACCENT if name in (UNION, FUNNEL) else MUTED if name == BASELINE else OTHER for name in names]
        bars = axes.barh(names, [values[name] for name in names], color=colours, height=0.7)
        axes.bar_label(bars, fmt="{:.3f}", padding=3, fontsize=8)
        axes.set_title(title)
        axes.margins(x=0.12, y=0.02)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(left=False, bottom=False, labelbottom=False)

    return draw


def _reliability(name: str, task: Task) -> Draw:
    """Predicted against real rates; the larger the dot, the more rows."""
    points = task["reliability"]

    def draw(axes: Axes) -> None:
        predicted, rate, rows = zip(*points, strict=True)
        top = 1.08 * max(*predicted, *rate, 1e-6)
        sizes = [8 + 90 * (count / max(rows)) ** 0.5 for count in rows]
        axes.plot([0, top], [0, top], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot(predicted, rate, color=ACCENT, linewidth=1)
        axes.scatter(predicted, rate, s=sizes, color=ACCENT, linewidth=0, alpha=0.75, zorder=3)
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted", ylabel="happened", aspect="equal")
        axes.locator_params(nbins=5)
        axes.set_title(f"{name}: calibration")

    return draw


def _positions(name: str, rates: Sequence[float | None]) -> Draw:
    def draw(axes: Axes) -> None:
        known = [(position + 1, rate) for position, rate in enumerate(rates) if _known(rate)]
        axes.plot(*zip(*known, strict=True), color=ACCENT, marker="o", markersize=3, linewidth=1.2)
        axes.set(xlabel="position", ylim=(0, None))
        axes.locator_params(axis="x", integer=True)
        axes.locator_params(axis="y", nbins=4)
        axes.set_title(f"{name}: rate by position")

    return draw


def _curve(title: str, values: Sequence[float]) -> Draw:
    def draw(axes: Axes) -> None:
        known = [(epoch + 1, value) for epoch, value in enumerate(values) if _known(value)]
        axes.plot(*zip(*known, strict=True), color=ACCENT, marker="o", markersize=3, linewidth=1.2)
        axes.set(xlabel="epoch")
        axes.locator_params(axis="x", integer=True)
        axes.locator_params(axis="y", nbins=4)
        axes.set_title(title)

    return draw
