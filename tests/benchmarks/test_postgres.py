"""The benchmark of the PostgreSQL log, on few events: every figure is there and makes sense."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import postgres as benchmark
from tests.postgres import schema_of
from upnext.testing.postgres_server import Server


def test_every_figure_is_printed(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, file = f"postgresql://{postgres.rest(schema_of(tmp_path))}", tmp_path / "figures.json"
    flags = [
        "--events",
        "3000",
        "--users",
        "50",
        "--reads",
        "60",
        "--writers",
        "1",
        "--batch",
        "50",
        "--seconds",
        "0.4",
    ]
    monkeypatch.setattr(
        sys, "argv", ["", *flags, "--seconds", "0.4", "--url", url, "--json", str(file), "--only", "reads", "writers"]
    )
    benchmark.main()
    found = json.loads(file.read_text())
    assert capsys.readouterr().out.count("\n") == len(found) == 16
    assert all(value > 0 for value in found.values())
    assert found["history of a user at rest, events: mean"] > 20
