"""What the ranker learns from when the log has no impressions: what was chosen next, among the sources' candidates.

At the moment of each event the sources, fitted on earlier data, propose as they would in serving; the chosen item is
the positive, a sample of the others the negatives. Events whose item no source proposed teach nothing about ranking
and are left out.
"""

from __future__ import annotations

import numpy as np

from upnext.build import Sources
from upnext.candidates.merge import merge
from upnext.config import Config
from upnext.features.replay import Moments, Replay
from upnext.live import Live
from upnext.training.examples import Examples
from upnext.training.progress import Progress
from upnext.types import Events, Int64, Ragged, Requests

EVENTS_AT_ONCE = 256
CHOICE_TASK = "click"


def from_choices(
    live: Live,
    replay: Replay,
    events: Events,
    positive: Int64,
    sources: Sources,
    config: Config,
    seed: int,
    progress: Progress,
) -> Examples:
    """Examples for the log rows ``positive`` (in log order), each a request with its chosen item and negatives.

    ``live.state`` is fed with the log as it goes, so that trending means then. Only the first event of a user with
    an item counts: what is seen already is never proposed.
    """
    random = np.random.default_rng(seed)
    rows_an_event = config.ranking.candidates_per_event
    most = max(config.training.max_examples // rows_an_event, 1)
    pair = (events.user[positive].astype(np.int64) << 32) | events.item[positive]
    _, first = np.unique(pair, return_index=True)
    positive = positive[np.sort(first)]
    if len(positive) > most:
        positive = np.sort(random.choice(positive, most, replace=False))
    kept: list[int] = []
    items, labels = [], []
    applied = 0
    with progress.track("candidates as of each event", len(positive)) as step:
        for start in range(0, len(positive), EVENTS_AT_ONCE):
            rows = positive[start : start + EVENTS_AT_ONCE]
            live.state.apply(events.take(slice(applied, int(rows[0]))))
            applied = int(rows[0])
            chunk = _examples(live, replay, events, rows, sources, config, random)
            kept += chunk[0]
            items += chunk[1]
            labels += chunk[2]
            step(len(rows), f"{len(kept):,} chosen among the candidates")
    rows = np.asarray(kept, np.int64)
    sizes = np.array([len(part) for part in items], np.int64)
    now = events.received_at[rows]
    item = np.concatenate(items) if items else np.empty(0, np.int32)
    moments = Moments(
        events.user[rows],
        now,
        np.searchsorted(events.received_at, now, side="left").astype(np.int64),
        item,
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
    )
    label = np.concatenate(labels) if labels else np.empty(0, np.float32)
    return Examples(moments, events.surface[rows], np.full(len(item), -1, np.int16), {CHOICE_TASK: label})


def _examples(
    live: Live,
    replay: Replay,
    events: Events,
    rows: Int64,
    sources: Sources,
    config: Config,
    random: np.random.Generator,
) -> tuple[
    list[int], list[np.ndarray[tuple[int], np.dtype[np.int32]]], list[np.ndarray[tuple[int], np.dtype[np.float32]]]
]:
    user, now = events.user[rows], events.received_at[rows]
    acted, shown = replay.histories(user, np.searchsorted(events.received_at, now, side="left").astype(np.int64))
    live.state.advance(int(now[0]))
    empty = Ragged.empty(len(rows))
    requests = Requests(user, now, events.surface[rows], 1, acted, shown, empty, empty)
    proposals = {source.name: source(requests, quota) for source, quota in sources.enabled}
    quotas = {source.name: quota for source, quota in sources.enabled}
    candidates = merge(proposals, quotas, config.candidates.total)
    kept, items, labels = [], [], []
    for request, row in enumerate(rows.tolist()):
        found = candidates.item[candidates.offsets[request] : candidates.offsets[request + 1]]
        chosen = events.item[row]
        if chosen not in found or len(found) < 2:
            continue
        others = found[found != chosen]
        others = others[~np.isin(others, acted.item[request])]
        size = min(config.ranking.candidates_per_event - 1, len(others))
        sample = random.choice(others, size, replace=False)
        kept.append(row)
        items.append(np.concatenate([[chosen], sample]).astype(np.int32))
        labels.append(np.concatenate([[1.0], np.zeros(size)]).astype(np.float32))
    return kept, items, labels
