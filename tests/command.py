"""The command as people type it, run in the test's own process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pytest


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def upnext(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Runs the command in this process, as the installed script does."""
    from upnext.cli import main  # it loads NumPy, which reads what conftest sets

    def run(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["upnext", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Done(code, *capsys.readouterr())

    return run
