"""A stage that fails for one user must not change what the others are told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from upnext.batch.answers import AT_ONCE, Answers
from upnext.batch.frozen import freeze, thaw
from upnext.batch.plan import Plan
from upnext.home import Home
from upnext.live import Live
from upnext.serving.funnels import Funnels, load_funnels
from upnext.stages import Ranker
from upnext.types import Candidates, Column, Requests


@dataclass
class FailsFor:
    """The ranker itself, but for one user."""

    ranker: Ranker
    user: int

    @property
    def name(self) -> str:
        return self.ranker.name

    def __call__(self, requests: Requests, candidates: Candidates) -> dict[str, Column]:
        if self.user in requests.user:
            raise ValueError("not this one")
        return dict(self.ranker(requests, candidates))


@pytest.fixture
def opened(trained: Path, tmp_path: Path) -> Iterator[tuple[Plan, Live, Funnels, pl.DataFrame]]:
    home = Home.open(trained)
    log, version = home.log(), home.models().active()
    assert version is not None
    moment = freeze(home, log, tmp_path, lambda: time.time_ns() // 1_000_000)
    plan = Plan(
        run="r", model_version=version, settings="", asked="all", n=6, surface="", explore=0.0,
        log_offset=moment.offset, now=moment.now, users=len(moment.users), part=64,
    )  # fmt: skip
    live = thaw(home.config, log, tmp_path, moment.offset, moment.now)
    yield plan, live, load_funnels(home, live, home.models().open(version)), moment.users.select("user_id", "code")
    log.close()


def test_a_batch_answers_as_one_by_one(opened: tuple[Plan, Live, Funnels, pl.DataFrame]) -> None:
    plan, live, funnels, users = opened
    answers = Answers(plan, live, funnels)
    users = users[: 2 * AT_ONCE + 3]
    assert_frame_equal(answers(users), pl.concat([answers(users[row]) for row in range(len(users))]))


def test_what_fails_for_one_user_costs_no_other(opened: tuple[Plan, Live, Funnels, pl.DataFrame]) -> None:
    plan, live, funnels, users = opened
    whole = Answers(plan, live, funnels)(users)
    rankers = (FailsFor(funnels.whole.rankers[0], 5), *funnels.whole.rankers[1:])
    failing = replace(funnels, whole=replace(funnels.whole, rankers=rankers))
    answered = Answers(plan, live, failing)(users)
    unlucky = pl.col("user_id") == users["user_id"][5]
    assert_frame_equal(answered.filter(~unlucky), whole.filter(~unlucky))
    notes = answered.filter(unlucky)["degraded"]
    assert len(notes) == plan.n
    assert "multi_task: ValueError: not this one" in notes[0]
    assert "fell back to linear" in notes[0]
