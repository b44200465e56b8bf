"""The funnel: the only file that knows the order of the stages, and what happens when one of them fails.

    sources -> merge -> filters -> features -> ranker -> value -> boosts -> diversity -> exploration -> slate

A source that fails or is late contributes nothing. A filter that fails removes what it guards. A hydrator that
fails gives its declared defaults. A ranker that fails or has no time falls back to the next simpler one, and in
the end to the sources' own order. An observer that fails is logged. Whatever was degraded is said in the answer.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np

from upnext.candidates.merge import merge
from upnext.pace import FEWEST_CANDIDATES, Pace, Run, short
from upnext.reranking.order import by_utility, checked
from upnext.stages import Boost, Filter, Hydrator, Observer, Ranker, Reranker, Source, Value
from upnext.types import Bool, Candidates, Column, Float32, Int64, Requests, Slate, StageTrace

_LOG = logging.getLogger("upnext.pipeline")

LANES = 2  # threads that run the sources of one request, at most
SECOND_LANE_MS = 4.0  # what the first may take alone: two threads in the interpreter would mostly wait for each other
SLOW_SOURCE_MS = 1.5  # from here on others need not wait for a source
RERANKING_MS = 4.0  # kept free before a deadline for what comes after ranking


@dataclass(frozen=True)
class Funnel:
    """All stages of one deployment. Calling it answers a batch of requests."""

    sources: Sequence[tuple[Source, int]]  # with their quotas
    filters: Sequence[Filter]
    hydrators: Sequence[Hydrator]
    rankers: Sequence[Ranker]  # the best first; each of the others is the fallback of those before it
    value: Value
    boosts: Sequence[Boost]  # value -> utility, what the slate is ordered by
    rerankers: Sequence[Reranker]
    total: int = 1000  # candidates that reach the ranker: the merge puts every source's best first
    observers: Sequence[Observer] = ()
    lacking: Callable[[], Sequence[str]] = tuple  # what the stages read and cannot be reached just now, in words
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, thread_name_prefix="source"))
    _pace: Pace = field(default_factory=lambda: Pace())

    def __call__(self, requests: Requests, deadline_ms: float | None = None, observe: bool = True) -> Slate:
        """The slates of all requests. With a deadline (for single requests) the answer degrades to keep it."""
        run = Run(time.perf_counter(), deadline_ms)
        candidates = self._propose(requests, run)
        candidates, removed = self._filter(requests, candidates, run)
        candidates = first_k(candidates, self.total)  # what filters removed does not count
        candidates = self._fit(candidates, run)
        candidates = self._hydrate(requests, candidates, run)
        candidates = self._rank(requests, candidates, run)
        chosen = self._rerank(requests, candidates, run)
        run.degraded.extend(self.lacking())
        slate = Slate(chosen, candidates, removed, tuple(run.trace), tuple(run.degraded), run.elapsed())
        if observe:
            for observer in self.observers:
                self._pool.submit(_observe, observer, requests, slate)
        return slate

    def again(self, requests: Requests, ranked: Candidates) -> Candidates:
        """The slate that these settings make of candidates which were ranked before: no source or ranker is asked."""
        value = self.value(requests, ranked)
        utility = boosted(value, [boost(requests, ranked) for boost in self.boosts])
        run = Run(time.perf_counter(), None)
        return self._rerank(requests, ranked.in_place_of({"value": value, "utility": utility}), run)

    def _propose(self, requests: Requests, run: Run) -> Candidates:
        proposals = self._together(requests, run) if run.deadline_ms else self._in_turn(requests, run)
        quotas = {source.name: quota for source, quota in self.sources}
        empty = Candidates(np.empty(0, np.int32), np.zeros(len(requests) + 1, np.int64))
        candidates = empty
        with run.stage("candidates", "merge", sum(map(len, proposals.values()))) as done:
            nothing = empty.with_columns({"score": np.empty(0, np.float32)})
            every = {source.name: proposals.get(source.name, nothing) for source, _ in self.sources}
            candidates = merge(every, quotas, sum(quotas.values()))
            done(len(candidates))
        return candidates

    def _in_turn(self, requests: Requests, run: Run) -> dict[str, Candidates]:
        found = {}
        for source, quota in self.sources:
            with run.stage("candidates", source.name) as done:
                found[source.name] = _proposed(source, requests, quota)
                done(len(found[source.name]))
        return found

    def _together(self, requests: Requests, run: Run) -> dict[str, Candidates]:
        """Sources taken from one queue by threads; what is not there when half of the time is gone is left out.

        One thread does it alone while sources are quick: two would take turns at the interpreter, which costs both.
        Another joins at once where one source is known to take long, which it does outside of the interpreter, and
        otherwise when that takes long: a source that hangs or has much to do keeps one lane, not the others.
        """
        waiting = deque(sorted(self.sources, key=lambda entry: -self._pace.source_ms(entry[0].name)))
        slowest = max((self._pace.source_ms(source.name) for source, _ in self.sources), default=0.0)
        alone = SECOND_LANE_MS if slowest < SLOW_SOURCE_MS else 0.0
        outcomes: dict[str, tuple[Candidates, float] | Exception] = {}

        def lane() -> None:
            while waiting:
                try:
                    source, quota = waiting.popleft()
                except IndexError:  # the other lane took the last one
                    return
                try:
                    outcomes[source.name] = _timed(source, requests, quota)
                except Exception as error:
                    outcomes[source.name] = error

        until, lanes = run.elapsed() + max(run.left() / 2, 0), []
        for patience in (*[alone] * (LANES - 1), np.inf):
            lanes.append(self._pool.submit(lane))
            wait(lanes, timeout=max(min(until - run.elapsed(), patience), 0) / 1000)
            if not waiting:
                break
        wait(lanes, timeout=max(until - run.elapsed(), 0) / 1000)
        waiting.clear()
        found = {}
        for source, _ in self.sources:
            outcome = outcomes.get(source.name)
            if outcome is None:
                run.note("candidates", source.name, error="late")
            elif isinstance(outcome, Exception):
                run.note("candidates", source.name, error=short(outcome))
            else:
                found[source.name], ms = outcome
                self._pace.source(source.name, ms)
                run.trace.append(StageTrace("candidates", source.name, 0, len(outcome[0]), ms))
        return found

    def _filter(
        self, requests: Requests, candidates: Candidates, run: Run
    ) -> tuple[Candidates, Mapping[str, Candidates]]:
        removed = {}
        for filter_ in self.filters:
            with run.stage("candidates", f"filter {filter_.name}", len(candidates)) as done:
                keep, kept = np.zeros(len(candidates), np.bool_), 0
                done(0)
                keep = _mask(filter_(requests, candidates), len(candidates))
                kept = int(np.count_nonzero(keep))
                done(kept)
            if kept < len(candidates):
                removed[filter_.name] = candidates.keep(~keep)
                candidates = candidates.keep(keep)
        return candidates, removed

    def _fit(self, candidates: Candidates, run: Run) -> Candidates:
        """Before a deadline, no more candidates than there is time to rank: those the sources put first."""
        if not run.deadline_ms or candidates.batch != 1:
            return candidates
        affordable = max(self._pace.rows_in(run.left() - RERANKING_MS), FEWEST_CANDIDATES)
        if affordable >= len(candidates):
            return candidates
        run.degraded.append(f"candidates: {affordable} of {len(candidates)} ranked to keep the deadline")
        best = np.sort(np.argsort(-fused_rank(candidates), kind="stable")[:affordable])
        return candidates.take(best, np.array([0, affordable], np.int64))

    def _hydrate(self, requests: Requests, candidates: Candidates, run: Run) -> Candidates:
        started = time.perf_counter()
        parts: list[Float32] = []
        names: list[str] = []
        for hydrator in self.hydrators:
            part = np.broadcast_to(hydrator.defaults, (len(candidates), len(hydrator.names)))
            with run.stage("features", _name(hydrator), len(candidates)) as done:
                part = _matrix(hydrator(requests, candidates), part.shape)
                done(len(part))
            parts.append(part)
            names.extend(hydrator.names)
        self._pace.features(len(candidates), time.perf_counter() - started)
        matrix = np.concatenate(parts, axis=1) if parts else np.empty((len(candidates), 0), np.float32)
        return candidates.with_features(matrix, tuple(names))

    def _rank(self, requests: Requests, candidates: Candidates, run: Run) -> Candidates:
        """With predictions, ``value``, and ``utility``, by which the slate is ordered."""
        candidates, predicted = self._predict(requests, candidates, run)
        if predicted:
            with run.stage("ranking", "value", len(candidates)) as done:
                candidates = candidates.with_columns({"value": self.value(requests, candidates)})
                done(len(candidates))
        if "value" not in candidates:
            run.degraded.append("ranking: fell back to the sources' order")
            return candidates.with_columns({"value": (fused := fused_rank(candidates)), "utility": fused})
        changes = []
        for boost in self.boosts:
            with run.stage("reranking", boost.name, len(candidates)) as done:
                changes.append(_column(boost(requests, candidates), len(candidates)))
                done(len(candidates))
        return candidates.with_columns({"utility": boosted(candidates["value"], changes)})

    def _predict(self, requests: Requests, candidates: Candidates, run: Run) -> tuple[Candidates, bool]:
        """The candidates with the first ranker's predictions that there are, and whether there are any."""
        for place, ranker in enumerate(self.rankers):
            first = place == 0
            if first and run.deadline_ms and self._pace.ranking_ms(len(candidates)) > run.left() - RERANKING_MS:
                run.degraded.append(f"ranking: no time for {ranker.name}")
                self._pace.skipped()
                continue
            started = time.perf_counter()
            with run.stage("ranking", ranker.name, len(candidates)) as done:
                ranked = candidates.with_columns(ranker(requests, candidates))
                done(len(ranked))
                if first:
                    self._pace.ranking(len(candidates), time.perf_counter() - started)
                else:
                    run.degraded.append(f"ranking: fell back to {ranker.name}")
                return ranked, True
        return candidates, False

    def _rerank(self, requests: Requests, candidates: Candidates, run: Run) -> Candidates:
        order = by_utility(candidates)
        bare = candidates.without_features()  # no reranker reads them
        chosen = bare.take(order.rows, order.offsets).with_columns({"propensity": order.propensity})
        for reranker in self.rerankers:
            with run.stage("reranking", reranker.name, len(chosen)) as done:
                order = checked(reranker(requests, chosen), chosen)
                propensity = np.asarray(chosen["propensity"], np.float32)[order.rows] * order.propensity
                taken = chosen.take(order.rows, order.offsets)
                chosen = taken.in_place_of({"propensity": propensity.astype(np.float32, copy=False)})
                done(len(chosen))
        return first_k(chosen, requests.k)


def first_k(candidates: Candidates, k: int) -> Candidates:
    """The first k rows of every request."""
    sizes = np.diff(candidates.offsets)
    if not (sizes > k).any():
        return candidates
    if candidates.batch == 1:
        return candidates.take(np.arange(k), np.array([0, k], np.int64))
    place = np.arange(len(candidates)) - np.repeat(candidates.offsets[:-1], sizes)
    return candidates.keep(place < k)


def boosted(value: Column, changes: Sequence[Float32]) -> Float32:
    """The utility of every row: its value, changed by the sum of its boosts as a share of its size."""
    change = np.zeros(len(value), np.float32)
    for boost in changes:
        change += boost
    worth = value.astype(np.float32)
    return np.asarray(worth + np.abs(worth) * change, np.float32)


def fused_rank(candidates: Candidates) -> Float32:
    """Reciprocal rank fusion of the sources (Cormack et al., SIGIR 2009): the order when no ranker can help."""
    fused = np.zeros(len(candidates), np.float64)
    request = candidates.request
    for name in candidates.columns:
        if name.startswith("score_"):
            score = np.asarray(candidates[name], np.float64)
            proposed = np.flatnonzero(~np.isnan(score))
            order = proposed[np.lexsort((-score[proposed], request[proposed]))]
            fused[order] += 1 / (60.0 + _place_in(request[order]))
    return fused.astype(np.float32)


def _place_in(group: Int64) -> Int64:
    """0, 1, 2... within each run of equal values."""
    start = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(start, np.diff(np.append(start, len(group))))


def _timed(source: Source, requests: Requests, quota: int) -> tuple[Candidates, float]:
    started = time.perf_counter()
    return _proposed(source, requests, quota), 1000 * (time.perf_counter() - started)


# What a stage answers is checked while it is still its own failure, and not that of the whole answer.


def _proposed(source: Source, requests: Requests, quota: int) -> Candidates:
    found = source(requests, quota)
    if found.batch != len(requests) or "score" not in found:
        raise ValueError(f"{len(requests)} requests got {found.batch} lists, with the columns {list(found.columns)}")
    return found


def _mask(keep: Bool, rows: int) -> Bool:
    if keep.shape != (rows,) or keep.dtype != np.bool_:
        raise ValueError(f"{rows} rows got a mask of shape {keep.shape} and type {keep.dtype}")
    return keep


def _matrix(part: Float32, shape: tuple[int, ...]) -> Float32:
    if part.shape != shape:
        raise ValueError(f"expected features of shape {shape}, got {part.shape}")
    return part


def _column(column: Float32, rows: int) -> Float32:
    if column.shape != (rows,):
        raise ValueError(f"{rows} rows got a column of shape {column.shape}")
    return column


def _observe(observer: Observer, requests: Requests, slate: Slate) -> None:
    try:
        observer(requests, slate)
    except Exception:  # an observer can neither delay nor break an answer
        _LOG.exception("observer %s failed", observer.name)


def _name(hydrator: Hydrator) -> str:
    return str(getattr(hydrator, "name", type(hydrator).__name__))
