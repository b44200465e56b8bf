from __future__ import annotations

import builtins
import html.parser
import io
import json
import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console

from upnext.errors import UpnextError
from upnext.evaluation import report
from upnext.evaluation.results import Results, from_json, ratio, to_json
from upnext.evaluation.table import headlines, number, sections, show

NAN = float("nan")


def results() -> Results:
    return {
        "window": {"trained until": "2022-05-04", "events in test": 55_588},
        "users": 2000,
        "model_version": "v7 <b>",
        "stages": {
            "candidates": {
                "als": {"recall@1000": 0.6, "recall@100": 0.2, "share": 0.4},
                "popularity": {"recall@1000": 0.3, "recall@100": 0.1, "share": NAN},
                "union": {"recall@1000": 0.9, "recall@100": 0.25, "share": 1.0},
            },
            "ranking": {
                "click": {
                    "rows": 55_588,
                    "positives": 20_110,
                    "auc": 0.75,
                    "gauc": 0.62,
                    "ece": 0.01,
                    "log_loss": 0.55,
                    "reliability": [(0.1, 0.12, 900), (0.5, 0.45, 90), (0.9, 0.93, 9)],
                    "position_ctr": [0.4, 0.3, NAN, 0.2],
                    "popularity": {"auc": 0.6, "gauc": 0.5},
                },
                "$like$": {"rows": 10, "positives": 0, "auc": NAN, "ece": 0.02, "reliability": [(0.0, 0.0, 10)]},
                "watch": {"rows": 55_588, "mae": 16.1, "xauc": 0.69, "popularity": {"mae": 20.0, "xauc": 0.5}},
            },
            "slate": {
                "full funnel": {"ndcg@10": 0.12, "coverage": 0.4},
                "popularity": {"ndcg@10": 0.03, "coverage": 0.001},
                "als": {"ndcg@10": NAN, "coverage": 0.2},
            },
        },
        "oracle": {"value share": 0.8},
        "cold": {"new users": {"users": 12, "recall@10": 0.1}},
        "timing": {"total": {"p50 ms": 12.3, "p99 ms": 20.0}},
        "training": {"ranker": {"loss": [0.6, 0.5, 0.49]}, "two_tower": {"loss": [1.0]}},
    }


def test_json_keeps_the_numbers_and_writes_what_is_undefined_as_null(tmp_path: Path) -> None:
    found = results()
    found["training"] = {"ranker": {"loss": np.array([0.5, np.nan]).tolist()}}
    path = tmp_path / "results.json"
    path.write_text(to_json(found))
    back = from_json(path)
    assert back["stages"]["slate"]["full funnel"] == {"ndcg@10": 0.12, "coverage": 0.4}
    assert back["stages"]["candidates"]["popularity"]["share"] is None
    assert back["training"]["ranker"]["loss"] == [0.5, None]
    assert back["stages"]["ranking"]["click"]["reliability"][0] == [0.1, 0.12, 900]
    assert to_json(back) == path.read_text()


def test_json_takes_numpy_scalars() -> None:
    found = results()
    found["oracle"] = {"a": np.float32(0.5), "b": np.int64(3), "c": np.float64("inf")}  # type: ignore[dict-item]
    assert json.loads(to_json(found))["oracle"] == {"a": 0.5, "b": 3, "c": None}


def test_ratio() -> None:
    assert ratio(6.0, 2.0) == 3.0
    assert [ratio(1.0, 0.0), ratio(None, 1.0), ratio(1.0, None), ratio(NAN, 1.0), ratio(1.0, NAN)] == [None] * 5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.1235"),
        (1.5, "1.50"),
        (16.08, "16.1"),
        (12345.6, "12,346"),
        (55588, "55,588"),
        (0.0, "0.0000"),
        (NAN, "–"),
        (math.inf, "–"),
        (None, "–"),
        ("2022", "2022"),
    ],
)
def test_numbers_are_short(value: object, text: str) -> None:
    assert number(value) == text


def test_each_stage_has_a_section_that_compares_with_popularity() -> None:
    found = {section.key: section for section in sections(results())}
    assert list(found) == ["candidates", "ranking", "seconds", "slate", "oracle", "cold", "timing"]
    assert (found["slate"].title, found["slate"].columns) == ("Slate, the first 10", ("ndcg", "coverage"))
    assert found["candidates"].columns == ("recall@1000", "recall@100", "share"), "of several depths each says its own"
    funnel, popularity, als = found["slate"].rows
    assert [(cell.text, cell.times) for cell in funnel.cells] == [("0.1200", "4.0×"), ("0.4000", "")]
    assert (funnel.whole, popularity.baseline, als.whole) == (True, True, False)
    assert [cell.times for cell in popularity.cells] == ["", ""]
    assert als.cells[0].text == "–"
    assert [row.name for row in found["ranking"].rows] == ["click", "popularity", "$like$"]
    assert [row.name for row in found["seconds"].rows] == ["watch", "popularity"]


def test_parts_that_were_not_measured_are_left_out() -> None:
    bare: Results = {
        "window": {},
        "users": 0,
        "model_version": "v1",
        "stages": {"candidates": {}, "ranking": {}, "slate": {}},
    }
    assert sections(bare) == []
    assert headlines(bare) == []
    assert "<h2>" not in report.html(bare)


def test_headlines_name_the_weakest_task_and_the_deepest_recall() -> None:
    found = {line.name: (line.value, line.detail) for line in headlines(results())}
    assert found == {
        "ndcg@10, full funnel": ("0.1200", "4.0× popularity"),
        "recall@1000, union": ("0.9000", "3.0× popularity"),
        "lowest auc": ("0.7500", "click"),
        "highest ece": ("0.0200", "$like$"),
        "xauc": ("0.6900", "watch"),
    }


@pytest.mark.parametrize("width", [80, 140])
def test_the_terminal_shows_every_row_without_cutting(width: int) -> None:
    console, found = Console(width=width, file=io.StringIO()), results()
    measures = ("ndcg@10", "recall@10", "value@10", "coverage", "diversity", "novelty", "fresh")  # all that there are
    found["stages"]["slate"] = {**found["stages"]["slate"], "because_you_watched": dict.fromkeys(measures, 0.4321)}
    with console.capture() as captured:
        show(found, console)
    text = captured.get()
    assert "…" not in text
    for word in ("full funnel", "0.1200", "union", "$like$", "16.1", "v7 <b>", "value share"):
        assert word in text
    assert max(map(len, text.splitlines())) <= width


class Tags(html.parser.HTMLParser):
    """Collects the attributes and checks that the tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write_report(results(), path)
    return path.read_text(encoding="utf-8")


def test_the_report_is_well_formed_and_needs_nothing_from_outside(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not {"script", "link", "img", "iframe"} & set(tags.seen)
    references = [value for name, value in tags.attributes if name in ("href", "src", "xlink:href", "srcset")]
    assert references
    assert all(value.startswith("#") for value in references)
    assert not re.search(r"@import|url\((?!#)", page)


def test_every_reference_inside_the_report_has_its_target(page: str) -> None:
    targets = set(re.findall(r'\bid="([^"]+)"', page))
    assert set(re.findall(r'xlink:href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page)) <= targets


def test_the_report_shows_numbers_and_plots(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    # bars of two stages, calibration of two tasks, rates by position, one curve; a curve of one point is none
    assert tags.seen.count("svg") == 6
    for text in ("0.1200", "4.0×", "click: calibration", "$like$: calibration", "ranker: loss", "16.1"):
        assert text in page
    assert "v7 &lt;b&gt;" in page
    assert "v7 <b>" not in page


def test_the_plots_take_the_pages_colour_and_the_page_knows_the_dark(page: str) -> None:
    assert "#010203" not in page
    assert "currentColor" in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_the_same_results_give_the_same_page(page: str) -> None:
    assert report.html(results()) == page


def test_without_matplotlib_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: object, **kwargs: object) -> ModuleType:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UpnextError, match=r"pip install 'upnext\[train\]'"):
        report.html(results())
