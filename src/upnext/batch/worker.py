"""A worker: reads numbers of parts, answers and writes them, until there are no more. One process, one thread.

python -m upnext.batch.worker HOME TARGET [KEY=VALUE ...]      a number a line in, a JSON object a line out
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import polars as pl

from upnext.batch.answers import Answers
from upnext.batch.frozen import thaw
from upnext.batch.plan import ASKED, PartsFolder, Plan, settle
from upnext.config import Config
from upnext.errors import StorageError, UpnextError
from upnext.home import Home
from upnext.serving.funnels import load_funnels


@contextmanager
def opened(home: Home, folder: PartsFolder) -> Iterator[Callable[[int], None]]:
    """How to do a part of the run in ``folder``: answer it, and let it appear there, whole."""
    plan = folder.plan()
    if plan is None:
        raise StorageError(f"{folder.path}: holds no plan. Start it with `upnext recommend --users`.")
    home = replace(home, config=_single_threaded(home))
    log = home.log()
    try:
        live = thaw(home.config, log, folder.path, plan.log_offset, plan.now)
        answers = Answers(plan, live, load_funnels(home, live, home.models().open(plan.model_version)))
        yield lambda number: _write(folder, plan, number, answers)
    finally:
        log.close()


def work(home: Home, folder: PartsFolder, numbers: TextIO, told: TextIO) -> None:
    """The end of ``numbers``, which is also the end of the process that writes them, ends this."""
    with opened(home, folder) as do:
        for line in numbers:
            do(int(line))
            print(json.dumps({"part": int(line)}), file=told, flush=True)


def _write(folder: PartsFolder, plan: Plan, number: int, answers: Answers) -> None:
    users = pl.scan_parquet(folder.path / ASKED).slice(number * plan.part, plan.part).collect()
    path = folder.part(plan, number)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    answers(users).write_parquet(draft)
    settle(draft, path)


def _single_threaded(home: Home) -> Config:
    serving = home.config.serving.model_copy(update={"ranker_threads": 1})
    return home.config.model_copy(update={"serving": serving})


def main(words: Sequence[str]) -> int:
    """Errors that were foreseen are told to the parent, which says them; others are printed by Python."""
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that a library prints gets among the answers
    home, target, *overrides = words
    try:
        work(Home.open(Path(home), overrides), PartsFolder(Path(target)), sys.stdin, told)
    except UpnextError as error:
        print(json.dumps({"error": str(error)}), file=told, flush=True)
        return 2
    except OSError as error:
        problem = f"{error.filename or 'input or output'}: {error.strerror or error}"
        print(json.dumps({"error": problem}), file=told, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
