"""Whole slates for users of the test window: the catalogue ranked as of each user's first visit in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from upnext.build import Model
from upnext.config import Config, TaskConfig
from upnext.evaluation import metrics
from upnext.evaluation.results import BASELINE, BEFORE, FUNNEL, UNION
from upnext.live import Live
from upnext.pipeline import first_k
from upnext.ranking.value import weighted_sum
from upnext.reranking.order import by_utility
from upnext.training.examples import Examples
from upnext.training.progress import Progress
from upnext.types import Candidates, Events, Float32, Int32, Int64, Ragged, Slate

AT_ONCE = 32
DEPTH = 1000  # recall of candidates is measured here and at 100
FRESH_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Visits:
    """The requests that are measured, in time order, and what each user turned to afterwards."""

    user: Int32  # [U]
    now: Int64  # [U]
    surface: np.ndarray[tuple[int], np.dtype[np.int16]]  # [U]
    truth: Ragged  # new items that the user acted on positively from ``now`` to the end of the window

    def __len__(self) -> int:
        return len(self.user)


def visits(events: Events, positive: Int64, start: int, most: int, seed: int) -> Visits:
    """Users with a new positive item from ``start`` on, at most ``most`` of them (0 = all), drawn by seed.

    ``positive`` are the log rows of all positive events. Items that a user turned to before are no truth.
    """
    pair = (events.user.astype(np.int64) << 32) | events.item
    is_late = events.received_at[positive] >= start
    before = np.unique(pair[positive[~is_late]])
    fresh = np.unique(pair[positive[is_late]])
    fresh = fresh[~np.isin(fresh, before)]
    users = np.unique(fresh >> 32)
    if most and len(users) > most:
        users = np.sort(np.random.default_rng(seed).choice(users, most, replace=False))
        fresh = fresh[np.isin(fresh >> 32, users)]
    late = np.flatnonzero((events.received_at >= start) & np.isin(events.user, users))
    _, first = np.unique(events.user[late], return_index=True)
    rows = late[first]
    order = np.argsort(events.received_at[rows], kind="stable")
    offsets = np.searchsorted(fresh >> 32, users)
    lists = np.split((fresh & 0xFFFFFFFF).astype(np.int32), offsets[1:])
    truth = Ragged.of([lists[n].tolist() for n in order.tolist()])
    rows = rows[order]
    return Visits(users[order].astype(np.int32), events.received_at[rows], events.surface[rows], truth)


@dataclass
class Shown:
    """What each way of choosing put before the users, ``[U, depth]`` item codes, -1 padded."""

    lists: dict[str, list[Int32]] = field(default_factory=dict)
    trace_ms: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, found: Int32) -> None:
        self.lists.setdefault(name, []).append(found)

    def __getitem__(self, name: str) -> Int32:
        parts = self.lists[name]
        width = max(part.shape[1] for part in parts)
        return np.concatenate(
            [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts]
        )


def show(
    model: Model, live: Live, config: Config, events: Events, applied: int, asked: Visits, progress: Progress
) -> Shown:
    """Run the funnel for every visit, feeding the live state with the log up to it. ``applied`` events are in it."""
    shown, k = Shown(), config.evaluation.k
    with progress.track("slates", len(asked)) as step:
        for batch in _batches(len(asked)):
            now = asked.now[batch]
            until = int(np.searchsorted(events.received_at, now[0], side="left"))
            if until > applied:
                live.state.apply(events.take(slice(applied, until)))
                applied = until
            requests = live.requests(asked.user[batch], now, k, asked.surface[batch])
            slate = model.funnel(requests, observe=False)
            _collect(shown, slate, k)
            shown.add(BASELINE, popular(live, asked.user[batch], now, DEPTH))
            for entry in slate.trace:
                shown.trace_ms.setdefault(f"{entry.stage}: {entry.name}", []).append(entry.ms / len(now))
            step(len(now), "")
    return shown


def _collect(shown: Shown, slate: Slate, k: int) -> None:
    considered = slate.considered
    shown.add(FUNNEL, padded(slate.chosen, k))
    by_value = considered.take(by_utility(considered).rows, considered.offsets)
    shown.add(BEFORE, padded(first_k(by_value, k), k))
    shown.add(UNION, padded(considered, DEPTH))
    for name in considered.columns:
        if name.startswith("score_"):
            shown.add(name.removeprefix("score_"), padded(by_score(considered, name), DEPTH))


def by_score(candidates: Candidates, column: str) -> Candidates:
    """The rows that one source proposed, in its own order."""
    score = np.asarray(candidates[column], np.float64)
    mine = candidates.keep(~np.isnan(score))
    rows = np.lexsort((-np.asarray(mine[column], np.float64), mine.request))
    return mine.take(rows, mine.offsets)


def padded(candidates: Candidates, width: int) -> Int32:
    """Items of each request in their order, ``[B, width]``, -1 where a request has fewer."""
    out = np.full((candidates.batch, width), -1, np.int32)
    place = np.arange(len(candidates)) - candidates.offsets[:-1][candidates.request]
    fits = place < width
    out[candidates.request[fits], place[fits]] = candidates.item[fits]
    return out


def popular(live: Live, users: Int32, now: Int64, k: int) -> Int32:
    """The baseline: most positive events by the longest half-life, unseen and available, ``[B, k]``."""
    catalogue = live.catalogue()
    score = live.state.positives(int(now[0]), len(catalogue))
    score = np.where(catalogue.available & (catalogue.published_at <= now[0]), score, -1)
    order = np.argsort(-score, kind="stable")
    order = order[score[order] > 0].astype(np.int32)
    out = np.full((len(users), k), -1, np.int32)
    for row, user in enumerate(users.tolist()):
        seen = live.state.seen(user)
        best = order[: k + len(seen)]
        best = best[~np.isin(best, seen)][:k]
        out[row, : len(best)] = best
    return out


def candidate_metrics(shown: Shown, truth: Ragged) -> dict[str, dict[str, float | None]]:
    """Recall of each source alone, of their union, and of popularity at the same depth."""
    found: dict[str, dict[str, float | None]] = {}
    for name in shown.lists:
        if name not in (FUNNEL, BEFORE):
            lists = shown[name]
            found[name] = {
                f"recall@{DEPTH}": metrics.recall(lists, truth, DEPTH).mean,
                "proposed": float((lists >= 0).sum(1).mean()),
            }
            if name != UNION:  # the union has no order of its own
                found[name]["recall@100"] = metrics.recall(lists, truth, 100).mean
    return found


def worth(asked: Visits, examples: Examples, tasks: Mapping[str, TaskConfig]) -> Float32:
    """What the users gave each item of the truth when it was shown to them: the weighted sum of what they did."""
    weights = {name: task.weight for name, task in tasks.items()}
    given = weighted_sum(examples.labels, weights, len(examples))
    user = np.repeat(examples.moments.user, np.diff(examples.moments.offsets)).astype(np.int64)
    shown = (user << 32) | examples.moments.item
    wanted = (np.repeat(asked.user, np.diff(asked.truth.offsets)).astype(np.int64) << 32) | asked.truth.item
    pairs, pair = np.unique(np.concatenate([wanted, shown]), return_inverse=True)
    total = np.bincount(pair[len(wanted) :], given, minlength=len(pairs))
    return total[pair[: len(wanted)]].astype(np.float32)


def slate_metrics(
    shown: Shown,
    asked: Visits,
    given: Float32,
    live: Live,
    k: int,
    similarity: Callable[[Int32], Float32],
    seen: Float32,
) -> dict[str, dict[str, float | None]]:
    """Quality and breadth of the first k of every way of choosing.

    ``given`` is the worth of each item of the truth: without any, as where the log has no impressions, no ``value@k``.
    """
    catalogue = live.catalogue()
    found: dict[str, dict[str, float | None]] = {}
    for name in [FUNNEL, BEFORE, *(n for n in shown.lists if n not in (FUNNEL, BEFORE, UNION))]:
        lists = shown[name][:, :k]
        found[name] = {
            f"ndcg@{k}": metrics.ndcg(lists, asked.truth, k).mean,
            f"recall@{k}": metrics.recall(lists, asked.truth, k).mean,
            **({f"value@{k}": metrics.worth_held(lists, asked.truth, given, k).mean} if given.any() else {}),
            "coverage": metrics.coverage(lists, k, int(catalogue.available.sum())),
            "diversity": metrics.diversity(lists, k, similarity).mean,
            "novelty": metrics.novelty(lists, k, seen).mean,
            "fresh": metrics.share_of_fresh(lists, k, catalogue.published_at, asked.now, FRESH_MS).mean,
        }
    return found


def cold_metrics(
    shown: Shown, asked: Visits, known_users: Int32, known_items: Int32, k: int
) -> dict[str, Mapping[str, float | None]]:
    """The same recall for users without any history before the window, and for items without any."""
    new_user = ~np.isin(asked.user, known_users)
    cold_item = ~np.isin(asked.truth.item, known_items)
    found: dict[str, Mapping[str, float | None]] = {}
    for name, truth in {
        "new users": _only(asked.truth, np.repeat(new_user, np.diff(asked.truth.offsets))),
        "new items": _only(asked.truth, cold_item),
        "known users, known items": _only(asked.truth, ~cold_item & ~np.repeat(new_user, np.diff(asked.truth.offsets))),
    }.items():
        found[name] = {
            "pairs": float(len(truth.item)),
            f"recall@{k}": metrics.recall(shown[FUNNEL], truth, k).mean,
            f"union recall@{DEPTH}": metrics.recall(shown[UNION], truth, DEPTH).mean,
            f"popularity@{k}": metrics.recall(shown[BASELINE], truth, k).mean,
        }
    return found


def _only(truth: Ragged, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Ragged:
    kept = np.concatenate([[0], np.cumsum(keep)])
    return Ragged(truth.item[keep], kept[truth.offsets].astype(np.int64))


def _batches(size: int) -> Iterator[slice]:
    for start in range(0, size, AT_ONCE):
        yield slice(start, min(start + AT_ONCE, size))
