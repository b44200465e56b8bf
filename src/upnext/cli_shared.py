"""What the verbs of the command line share: the terminal, and what is wrong said before any work is done."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from upnext.errors import ConfigError

HOME = click.option(
    "--home", "home", type=click.Path(path_type=Path), default=Path(), help="The home folder.", show_default="."
)
SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a setting, e.g. ranking.tasks.click.weight=2.",
)


def console() -> Console:
    return Console(stderr=False, highlight=False)


def can_be_written(path: Path | None) -> None:
    """Raises ConfigError where a file cannot be: better said before the measuring than after it."""
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"{path}: cannot be written, because {path.parent} is no folder")


def moment(text: str) -> int:
    """An ISO date or time (UTC where it names no zone) as Unix ms. Raises ConfigError for anything else."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--until {text!r}: expected an ISO date or time, such as 2026-05-05 or 2026-05-05T12:00"
        ) from None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def bars() -> Any:
    from upnext.training.progress import Bars

    return Bars(console())


def need_training() -> None:
    try:
        import implicit  # noqa: F401
        import matplotlib  # noqa: F401
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"training needs {error.name}, which is not installed: pip install 'upnext[train]'") from None
