from __future__ import annotations

import numpy as np
import pytest

from upnext.bench.command import run_command
from upnext.errors import HomeError


def test_what_a_command_took_is_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    """A new process's peak starts from its parent's memory: the weight of this one must not be found in it."""
    ballast = np.ones(50_000_000)
    took = run_command(["--version"])
    assert "version" in capfd.readouterr().out
    assert 0 < took.cpu_seconds < took.seconds + 5
    assert 10 < took.peak_mb < ballast.nbytes / 2**20


def test_a_command_that_fails_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HomeError, match="`upnext nonsense` ended with status 2"):
        run_command(["nonsense"])
    assert "nonsense" in capfd.readouterr().err
