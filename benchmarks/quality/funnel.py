"""The answers of a trained home, in process and for many at once, and what each stage of the funnel would answer.

The slates are those that a server gives: the whole funnel, and its fillers where it finds too little. Nothing is
explored or logged. What a user has turned to before is never recommended.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.quality.lists import Top
from benchmarks.quality.split import Int32, Int64, Split
from upnext.evaluation.slates import by_score, padded
from upnext.home import Home
from upnext.live import Live
from upnext.pipeline import first_k, fused_rank
from upnext.reranking.order import by_utility
from upnext.serving.funnels import Funnels, load_funnels
from upnext.serving.popular import Popular
from upnext.types import NO_USER, Candidates, Requests, Slate

AT_ONCE = 32
DEPTH = 1000  # of the union of all candidates
UNION, FUSED, RANKER, SLATE = "union of candidates", "sources fused by rank", "ranker", "slate"


@dataclass
class Stages:
    """What was answered for the asked users, by stage; codes are those of the split."""

    tops: Mapping[str, Top]
    seconds: float
    notes: list[str] = field(default_factory=list)  # what was degraded


def ask(directory: Path, split: Split, now: int, k: int, settings: tuple[str, ...] = ()) -> Stages:
    """The first ``k`` for every asked user at ``now``; of the union up to ``DEPTH``."""
    home = Home.open(directory, settings)
    log = home.log()
    try:
        live = Live(log, home.config)
        models = home.models()
        funnels = load_funnels(home, live, models.open() if models.active() else None)
        user_code = {name: code for code, name in enumerate(log.ids("user"))}
        users = np.array([user_code.get(name, NO_USER) for name in split.users[split.asked].tolist()], np.int32)
        return _Asking(live, funnels, now, k, _codes(live, split)).all(users)
    finally:
        log.close()


class _Asking:
    """One pass over the users."""

    def __init__(self, live: Live, funnels: Funnels, now: int, k: int, code: Int32) -> None:
        self._live, self._funnel, self._now, self._k, self._code = live, funnels.whole, now, k, code
        self._popular = Popular(live)
        self._found: dict[str, list[Int32]] = {}

    def all(self, users: Int32) -> Stages:
        started, notes = time.perf_counter(), []
        for batch in _batches(len(users)):
            requests = self._requests(users[batch])
            slate = self._funnel(requests, observe=False)
            notes += [note for note in slate.degraded if note not in notes]
            self._collect(requests, slate)
            if batch.start // AT_ONCE % 100 == 0:
                took = time.perf_counter() - started
                print(f"asked {batch.stop:,} of {len(users):,} after {took:.0f} s", file=sys.stderr, flush=True)
        tops = {name: Top.in_order(np.concatenate(parts)) for name, parts in self._found.items()}
        return Stages(tops, time.perf_counter() - started, notes)

    def _requests(self, users: Int32) -> Requests:
        now: Int64 = np.full(len(users), self._now, np.int64)
        return replace(self._live.requests(users, now, self._k), explore=0.0)

    def _collect(self, requests: Requests, slate: Slate) -> None:
        k, considered = self._k, slate.considered
        for source, quota in self._funnel.sources:
            proposed = self._allowed(requests, source(requests, quota))
            self._add(source.name, padded(first_k(by_score(proposed, "score"), k), k))
        self._add(UNION, padded(considered, DEPTH))
        self._add(FUSED, self._best(considered, "fused", k))
        self._add(RANKER, self._best(considered, "value", k))
        self._add(SLATE, self._filled(requests, padded(slate.chosen, k)))

    def _best(self, considered: Candidates, column: str, k: int) -> Int32:
        order = fused_rank(considered) if column == "fused" else considered[column]
        ordered = by_utility(considered.in_place_of({"utility": order}))
        return padded(first_k(considered.take(ordered.rows, considered.offsets), k), k)

    def _allowed(self, requests: Requests, proposed: Candidates) -> Candidates:
        for filter_ in self._funnel.filters:
            proposed = proposed.keep(filter_(requests, proposed))
        return proposed

    def _filled(self, requests: Requests, shown: Int32) -> Int32:
        """What is popular in the places that the funnel left empty, as in every answer of a server."""
        for row in np.flatnonzero((shown < 0).any(axis=1)).tolist():
            taken = shown[row][shown[row] >= 0]
            missing = shown.shape[1] - len(taken)
            found = self._popular(requests.take(row), self._funnel.filters, missing, taken).item
            shown[row, len(taken) : len(taken) + len(found)] = found
        return shown

    def _add(self, stage: str, shown: Int32) -> None:
        self._found.setdefault(stage, []).append(np.where(shown >= 0, self._code[shown], np.int32(-1)))


def _codes(live: Live, split: Split) -> Int32:
    """[items of the home] their codes in the split."""
    place = {name: code for code, name in enumerate(split.items.tolist())}
    return np.array([place[name] for name in live.catalogue.ids.names], np.int32)


def _batches(size: int) -> Iterator[slice]:
    for start in range(0, size, AT_ONCE):
        yield slice(start, min(start + AT_ONCE, size))
