"""``upnext recommend --ray``: the parts of a run for many users, done by actors all over a cluster.

They read the home and write into the folder beside the target: every machine must see both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray

from upnext.batch.plan import PartsFolder
from upnext.batch.pool import SINGLE
from upnext.batch.run import Work
from upnext.batch.worker import opened
from upnext.errors import UpnextError
from upnext.home import Home

TRIES = 3  # of a part whose actor is lost


class Answerer:
    """The body of an actor: it opens the home once, and answers part by part."""

    def __init__(self, home: str, target: str, overrides: Sequence[str]) -> None:
        self._kept = ExitStack()
        found = Home.open(Path(home), overrides)
        self._do = self._kept.enter_context(opened(found, PartsFolder(Path(target))))

    def do(self, part: int) -> int:
        self._do(part)
        return part


def on_ray(home: Home, target: Path, overrides: Sequence[str], processes: int | None) -> Work:
    """``processes`` None = as many as the cluster has cores."""

    def work(parts: Sequence[int]) -> Generator[int, None, None]:
        number = processes or int(ray.cluster_resources().get("CPU", 1))
        options = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": TRIES, "runtime_env": {"env_vars": SINGLE}}
        actor: Any = ray.remote(Answerer).options(**options)
        words = str(home.directory.resolve()), str(target.resolve()), tuple(overrides)
        actors = [actor.remote(*words) for _ in range(min(number, len(parts)))]
        todo, under_way = deque(parts), {}
        try:
            for each in actors:
                under_way[each.do.remote(todo.popleft())] = each
            while under_way:
                (ready,), _ = ray.wait(list(under_way), num_returns=1)
                free = under_way.pop(ready)
                if todo:
                    under_way[free.do.remote(todo.popleft())] = free
                yield _done(ready)
        finally:
            for each in actors:
                ray.kill(each)

    return work


def _done(call: Any) -> int:
    try:
        part: int = ray.get(call)
    except ray.exceptions.RayTaskError as error:
        raise UpnextError(str(error.cause)) from None
    except ray.exceptions.RayActorError as error:
        why = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
        raise UpnextError(f"a worker cannot go on: {why}. What was done is kept: the same command goes on") from None
    return part
