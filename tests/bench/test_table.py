"""The figures of a measurement made by hand, as people and as programs read them."""

from __future__ import annotations

import json
import re

import pytest
from rich.console import Console

from upnext.bench.run import Measured
from upnext.bench.table import figures, ratio, show


def rendered(measured: Measured) -> dict[str, list[str]]:
    """Cells of each line, by its first."""
    console = Console(width=140, highlight=False)
    with console.capture() as captured:
        console.print(show(measured))
    lines = [re.split(r"\s{2,}", line.strip()) for line in captured.get().splitlines() if line.strip()]
    return {line[0]: line[1:] for line in lines}


def test_the_table(measured: Measured) -> None:
    found = rendered(measured)
    assert "1,000 items, 100 users, 20,000 impressions" in found
    assert any(line.startswith("The home is from 2026-09-21") for line in found)
    assert "The server is 3 processes" in found
    assert found["over HTTP"] == ["6.00", "7.80", "7.96"]
    assert found["inside the server"] == ["5.00", "6.80", "6.96"]
    assert found["ranking: multi_task"] == ["2.00", "2.90", "2.98"]
    assert found["kernel: search of the item index"] == ["0.50"] * 3
    assert found["kernel: run of the ranker"] == ["1.50"] * 3
    assert found["over HTTP / both kernels, medians"] == ["3.00"]
    assert found["recall@1000 of the index"] == ["0.9876"]
    assert found["slate overlap@10 with an exact search"] == ["0.9980"]
    assert found["CPU of the server a request"] == ["11.50"]
    assert found["candidates ranked, median"] == ["1,000"]
    assert found["degraded, failed"] == ["2, 1"]
    assert found["20/s"] == ["20", "10.00", "10.00", "10.00", "0.0%", "0.0%"]
    assert found["25/s"] == ["25", "500.00", "500.00", "500.00", "0.0%", "0.0%"]
    assert found["200"] == ["200", "2.50", "2.50", "2.50"]
    assert found["upnext train"] == ["123.0", "234.0", "1,357"]
    assert found["item index"] == ["9.5"]
    assert found["first start, from the log"] == ["21.5"]
    assert found["start from artifacts, no file in memory"] == ["3.2"]
    assert found["server, resident"] == ["777"]
    assert found["disk: log"] == ["42"]


def test_the_file(measured: Measured) -> None:
    found = json.loads(json.dumps(figures(measured)))
    assert (found["items"], found["users"], found["impressions"]) == (1000, 100, 20_000)
    assert found["light"] == {"p50 ms": 6.0, "p95 ms": 7.8, "p99 ms": 7.96, "failed": 1}
    assert [(rate["asked/s"], rate["answered/s"], rate["refused"]) for rate in found["rates"]] == [
        (20, 20.0, 0.0), (25, 25.0, 0.0),
    ]  # fmt: skip
    assert found["best answered/s"] == 20.0
    assert found["CPU ms a request"] == 11.5
    assert found["kernels"]["http total / kernels"] == 3.0
    assert found["kernels"]["recall@1000"] == 0.9876
    assert found["candidates"]["200"]["p50 ms"] == 2.5
    assert found["commands"]["train"] == {"seconds": 123.0, "cpu seconds": 234.0, "peak MB": 1357.0}
    assert found["training s"] == [["item vectors", 1.75], ["item index", 9.5]]
    assert found["disk bytes"] == {"log": 42_000_000, "model, item index": 17_000_000}
    assert found["workers"] == 3
    assert (found["from the log s"], found["cold start s"], found["resident MB"]) == (21.5, 3.25, 777.0)


def test_what_was_not_measured_is_left_out(measured: Measured) -> None:
    measured.inside, measured.from_log_s, measured.cpu_ms, measured.made_before = None, None, None, False
    measured.light.took, measured.rates = [], []
    found = rendered(measured)
    assert found["over HTTP"] == ["-", "-", "-"]
    assert not any(
        "kernel" in line or "from the log" in line or "CPU of" in line or "is from" in line for line in found
    )
    measured.light.rows = []
    written = figures(measured)
    assert "NaN" not in json.dumps(written)
    assert written["candidates ranked, median"] is None
    assert written["light"]["p50 ms"] is None
    assert written["best answered/s"] is None
    assert ratio(measured) != pytest.approx(ratio(measured))  # not a number
