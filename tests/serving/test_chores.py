"""Chores go on after a failure, do not hold each other up, and give way where they are asked to."""

from __future__ import annotations

import logging
import os
import sys
import threading

import pytest

from tests.waiting import wait_for
from upnext.serving.chores import GENTLE, Chore


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_chore_that_fails_is_tried_again_and_the_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    rounds: list[int] = []

    def work() -> None:
        rounds.append(1)
        if len(rounds) == 1:
            raise ValueError("not today")

    chore = Chore("dishes", work, every_s=0.01)
    with caplog.at_level(logging.ERROR, "upnext.serving"):
        chore.start()
        wait_for(lambda: len(rounds) >= 3)
        chore.stop()
    done = len(rounds)
    assert "dishes" in caplog.text
    assert "not today" in caplog.text
    assert len(rounds) == done


def test_a_chore_that_takes_long_holds_no_other_up() -> None:
    forever, rounds = threading.Event(), []
    slow, quick = Chore("slow", forever.wait, 0.01), Chore("quick", lambda: rounds.append(1), 0.01)
    slow.start()
    quick.start()
    wait_for(lambda: len(rounds) >= 5)
    forever.set()
    slow.stop()
    quick.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives each thread a priority of its own")
def test_a_gentle_chore_gives_way_and_nobody_else_does() -> None:
    seen: dict[str, int] = {}
    own = nice()
    chores = [
        Chore("gentle", lambda: seen.update(gentle=nice()), 0.01, gentle=True),
        Chore("usual", lambda: seen.update(usual=nice()), 0.01),
    ]
    for chore in chores:
        chore.start()
    wait_for(lambda: len(seen) == 2)
    for chore in chores:
        chore.stop()
    assert seen == {"gentle": GENTLE, "usual": own}
    assert nice() == own
