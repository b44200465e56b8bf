"""What was chosen next, among the sources' candidates: all that the ranker learns from where there are no impressions.

At the moment of each choice the sources, fitted on earlier data, propose as they would in serving; the chosen item is
the positive. A choice that followed an impression is of the moment at which that slate was asked for: any later, having
been shown would tell which item it is. Of the others those that the sources put first are all kept, for among them a
slate is decided; of the rest a sample, each row of which stands for several. Choices whose item no source proposed
teach nothing about ranking and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.build import Sources
from upnext.candidates.merge import merge
from upnext.config import Config
from upnext.features.replay import Moments, Replay, cuts
from upnext.features.roles import EventRoles
from upnext.live import Live
from upnext.training.examples import Examples, attribute
from upnext.training.progress import Progress
from upnext.types import Bool, Events, Float32, Int16, Int32, Int64, Ragged, Requests

EVENTS_AT_ONCE = 256
CHOICE_TASK = "click"
SOURCES_SHARE = 0.8  # of the choices: the sources that score the lists must be nearly as good as those that will serve
FOREMOST = 0.4  # of the rows beside a choice: those that the sources put first


@dataclass(frozen=True, slots=True)
class Chosen:
    """What users turned to, and what was known when it was offered to them; in log order. C choices."""

    user: Int32  # [C]
    item: Int32  # [C]
    surface: Int16  # [C]
    now: Int64  # [C]
    cut: Int64  # [C], events before this place in log order were known

    @classmethod
    def of(cls, events: Events, roles: EventRoles, positive: Int64) -> Chosen:
        """Of the log rows ``positive``; several acts on one impression are one choice."""
        impressions = np.flatnonzero(roles.is_impression[events.type] & (events.user >= 0) & (events.item >= 0))
        owner = attribute(events, impressions, positive)
        led = owner >= 0
        rows = positive.copy()
        rows[led] = impressions[owner[led]]
        rows = np.unique(rows)
        found = events.take(rows)
        now = np.where(found.as_of >= 0, found.happened_at, found.received_at)
        return cls(found.user, found.item, found.surface, now, cuts(events, now, found.as_of))

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Int64 | slice | Bool) -> Chosen:
        return Chosen(self.user[rows], self.item[rows], self.surface[rows], self.now[rows], self.cut[rows])


@dataclass(frozen=True, slots=True)
class Turned:
    """When each user first turned to each item, as rows of the log."""

    pair: Int64  # user << 32 | item, sorted
    first: Int64

    @classmethod
    def of(cls, events: Events, rows: Int64) -> Turned:
        pair, first = np.unique(_pair(events.user[rows], events.item[rows]), return_index=True)
        return cls(pair, rows[first])

    def before(self, user: Int32, item: Int32, row: Int64 | int) -> Bool:
        """Whether the users had turned to the items before these rows of the log."""
        if not len(self.pair):
            return np.zeros(len(item), np.bool_)
        wanted = _pair(user, item)
        place = np.minimum(np.searchsorted(self.pair, wanted), len(self.pair) - 1)
        return np.asarray((self.pair[place] == wanted) & (self.first[place] < row))


def _pair(user: Int32, item: Int32) -> Int64:
    return (user.astype(np.int64) << 32) | item.astype(np.int64)


def from_choices(
    live: Live,
    replay: Replay,
    events: Events,
    positive: Int64,
    sources: Sources,
    config: Config,
    seed: int,
    progress: Progress,
    most: int | None = None,
) -> Examples:
    """Examples for the log rows ``positive`` (in log order), each a request with its chosen item and negatives.

    Of at most ``most`` of them, drawn at random; None = as many as ``training.max_examples`` has room for.
    ``live.state`` is fed with the log as it goes, so that trending means then. Where serving never shows what was
    watched, neither the chosen items nor the others had been: only a user's first event with an item counts.
    """
    random = np.random.default_rng(seed)
    rows_an_event = config.ranking.candidates_per_event
    most = max(config.training.max_examples // rows_an_event, 1) if most is None else most
    chosen, seen = Chosen.of(events, live.roles, positive), None
    if config.reranking.filters.watched:
        liked = np.flatnonzero(live.roles.preference(events.type, events.value) > 0)
        chosen = chosen.take(~Turned.of(events, liked).before(chosen.user, chosen.item, chosen.cut))
        seen = Turned.of(events, np.flatnonzero(live.roles.weight[events.type] > 0))
    if len(chosen) > most:
        chosen = chosen.take(np.sort(random.choice(len(chosen), most, replace=False)))
    kept: list[int] = []
    items, labels, weights = [], [], []
    applied = 0
    with progress.track("candidates as of each choice", len(chosen)) as step:
        for start in range(0, len(chosen), EVENTS_AT_ONCE):
            part = chosen.take(slice(start, start + EVENTS_AT_ONCE))
            if part.cut[0] > applied:
                live.state.apply(events.take(slice(applied, int(part.cut[0]))))
                applied = int(part.cut[0])
            chunk = _examples(live, replay, part, sources, config, seen, random)
            kept += [start + row for row in chunk[0]]
            items += chunk[1]
            labels += chunk[2]
            weights += chunk[3]
            step(len(part), f"{len(kept):,} chosen among the candidates")
    asked = chosen.take(np.asarray(kept, np.int64))
    sizes = np.array([len(part) for part in items], np.int64)
    item = np.concatenate(items) if items else np.empty(0, np.int32)
    moments = Moments(asked.user, asked.now, asked.cut, item, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))
    label = np.concatenate(labels) if labels else np.empty(0, np.float32)
    stands_for = np.concatenate(weights) if weights else np.empty(0, np.float32)
    return Examples(moments, asked.surface, np.full(len(item), -1, np.int16), {CHOICE_TASK: label}, stands_for)


def _examples(
    live: Live,
    replay: Replay,
    asked: Chosen,
    sources: Sources,
    config: Config,
    seen: Turned | None,
    random: np.random.Generator,
) -> tuple[list[int], list[Int32], list[Float32], list[Float32]]:
    """Rows of ``asked``, and for each its items, which of them was chosen, and how many candidates each stands for."""
    acted, shown = replay.histories(asked.user, asked.cut)
    live.state.advance(int(asked.now[0]))
    empty, again = Ragged.empty(len(asked)), seen is None
    requests = Requests(asked.user, asked.now, asked.surface, 1, acted, shown, empty, empty, allow_watched=again)
    proposals = {source.name: source(requests, quota) for source, quota in sources.enabled}
    quotas = {source.name: quota for source, quota in sources.enabled}
    candidates = merge(proposals, quotas, config.candidates.total)
    kept: list[int] = []
    items: list[Int32] = []
    labels: list[Float32] = []
    weights: list[Float32] = []
    beside = config.ranking.candidates_per_event - 1
    first = int(FOREMOST * beside)
    for request, (chosen, cut) in enumerate(zip(asked.item.tolist(), asked.cut.tolist(), strict=True)):
        found = candidates.item[candidates.offsets[request] : candidates.offsets[request + 1]]
        if chosen not in found or len(found) < 2:
            continue
        others = found[found != chosen]
        if seen is not None:
            others = others[~seen.before(asked.user[request : request + 1], others, cut)]
        foremost, rest = others[:first], others[first:]  # merged lists come in the order of the sources' ranks
        sample = random.choice(rest, min(beside - len(foremost), len(rest)), replace=False)
        each = len(rest) / max(len(sample), 1)
        kept.append(request)
        items.append(np.concatenate([[chosen], foremost, sample]).astype(np.int32))
        labels.append(np.concatenate([[1], np.zeros(len(foremost) + len(sample))]).astype(np.float32))
        weights.append(np.concatenate([np.ones(1 + len(foremost)), np.full(len(sample), each)]).astype(np.float32))
    return kept, items, labels, weights
