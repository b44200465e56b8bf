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
RAY = click.option(
    "--ray",
    "cluster",
    metavar="ADDRESS|local",
    help="On the Ray cluster at ADDRESS (host:port of its head), or on one of this machine's own.",
)


class Span(click.ParamType[tuple[int, int]]):
    """``3``, or from ``2..8``: at least, and at most."""

    name = "MIN..MAX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        low, dots, high = str(value).partition("..")
        try:
            least, most = int(low), int(high if dots else low)
        except ValueError:
            self.fail(f"{value!r} is no number and no range such as 2..8", param, ctx)
        if not 1 <= least <= most:
            self.fail(f"{value!r}: expected at least 1, and no more at least than at most", param, ctx)
        return least, most


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
