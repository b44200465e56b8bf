"""How long steps show that they are alive: a bar with a message, or nothing at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichBar

Step = Callable[[int, str], None]
"""``step(advance, message)``: ``advance`` units of the total are done; message such as "loss 0.412"."""


class Progress(Protocol):
    def track(self, description: str, total: int) -> AbstractContextManager[Step]: ...

    def say(self, text: str) -> None: ...


class Silent:
    """Shows nothing: tests and library use."""

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Step]:
        yield lambda advance, message: None

    def say(self, text: str) -> None:
        pass


class Bars:
    """A bar a step on the terminal; where there is no terminal, one line when a step ends."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Step]:
        if not total:  # nothing to do, nothing to show
            yield lambda advance, message: None
            return
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[message]}", style="dim"),
        )
        with RichBar(*columns, console=self._console) as bar:
            task = bar.add_task(description, total=total, message="")

            def step(advance: int, message: str) -> None:
                bar.update(task, advance=advance)
                if message:
                    bar.update(task, message=message)

            yield step

    def say(self, text: str) -> None:
        self._console.print(text)


class Clocked:
    """Another progress, and the seconds of each step that has ended: ``(description, seconds)``, in order."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self.seconds: list[tuple[str, float]] = []

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Step]:
        started = time.perf_counter()
        with self._shown.track(description, total) as step:
            yield step
        self.seconds.append((description, round(time.perf_counter() - started, 3)))

    def say(self, text: str) -> None:
        self._shown.say(text)
