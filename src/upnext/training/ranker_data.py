"""Examples -> what the network reads: replayed features, the sources' scores, histories as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from upnext.build import user_inputs
from upnext.config import Config
from upnext.content import Vocabulary
from upnext.features.definitions import groups, request_features
from upnext.features.hydrate import SourceScores
from upnext.features.replay import Replay
from upnext.live import Live
from upnext.ranking.multi_task import RankerSpec
from upnext.ranking.tokens import Tokens, tokens
from upnext.stages import PairScorer
from upnext.training.examples import Examples
from upnext.training.progress import Progress
from upnext.training.ranker_fit import RankerData
from upnext.types import Candidates, Float32, Ragged, Requests

REQUESTS_AT_ONCE = 4096


def actions_of(live: Live) -> tuple[str, ...]:
    """The event types that get an action bit: all that are acts, not exposures; float32 holds 24 bits exactly."""
    return tuple(name for code, name in enumerate(live.roles.names) if not live.roles.is_shown[code])[:24]


def past_requests(replay: Replay, examples: Examples, which: slice) -> Requests:
    """The requests of a run of examples as they were, with the histories known then."""
    moments = examples.moments
    acted, shown = replay.histories(moments.user[which], moments.cut[which])
    batch = len(acted)
    empty = Ragged.empty(batch)
    return Requests(moments.user[which], moments.now[which], examples.surface[which], 1, acted, shown, empty, empty)


def ranker_data(
    examples: Examples,
    replay: Replay,
    live: Live,
    scorers: Sequence[PairScorer],
    scored_from: int,
    vocabulary: Vocabulary,
    config: Config,
    progress: Progress,
    actions: tuple[str, ...] | None = None,
) -> RankerData:
    """Everything the network reads of each row, as of its moment; ``actions`` (None = all) get a bit of the tokens.

    Rows before ``scored_from`` (ms) get no source scores: the sources were fitted on what happened until then.
    """
    moments = examples.moments
    batch = len(moments.user)
    with progress.track("features as of each moment", batch) as step:
        features = replay.features(moments, step)
    spec = RankerSpec((), (), actions_of(live) if actions is None else actions, config.ranking.history_size, (), 0)
    bits = spec.action_bits(live.roles.names)
    scores = SourceScores(scorers)
    matrix = np.zeros((len(moments.item), features.shape[1] + len(scores.names)), np.float32)
    matrix[:, : features.shape[1]] = features
    inputs_of = user_inputs(live, vocabulary)
    parts: list[Tokens] = []
    inputs: list[dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int32]]]] = []
    with progress.track("source scores", batch) as step:
        for start in range(0, batch, REQUESTS_AT_ONCE):
            which = slice(start, min(start + REQUESTS_AT_ONCE, batch))
            requests = past_requests(replay, examples, which)
            parts.append(tokens(requests.acted, requests.now, bits, config.ranking.history_size))
            inputs.append(inputs_of(requests))
            rows = slice(int(moments.offsets[which.start]), int(moments.offsets[which.stop]))
            offsets = moments.offsets[which.start : which.stop + 1] - rows.start
            matrix[rows, features.shape[1] :] = _scores(
                scores, requests, Candidates(moments.item[rows], offsets), scored_from
            )
            step(which.stop - which.start, "")
    return RankerData(
        item=moments.item,
        offsets=moments.offsets,
        features=matrix,
        request_features=request_features(groups(config.features, live.roles)),
        position=examples.position,
        labels=examples.labels,
        stands_for=examples.stands_for,
        history=Tokens(*(np.concatenate([getattr(part, name) for part in parts]) for name in Tokens.__slots__)),
        **{name: np.concatenate([part[name] for part in inputs]) for name in ("user", "attribute", "surface")},
        validation_from=max(1, int(batch * (1 - config.training.validation_share))),
    )


def _scores(scores: SourceScores, requests: Requests, candidates: Candidates, scored_from: int) -> Float32:
    late = np.flatnonzero(requests.now >= scored_from)
    out = np.zeros((len(candidates), len(scores.names)), np.float32)
    if len(late):
        first = int(late[0])  # requests are in time order
        rows = slice(int(candidates.offsets[first]), len(candidates))
        out[rows] = scores(
            _from(requests, first), Candidates(candidates.item[rows], candidates.offsets[first:] - rows.start)
        )
    return out


def _from(requests: Requests, first: int) -> Requests:
    rest = slice(first, len(requests))
    empty = Ragged.empty(len(requests) - first)
    return replace(
        requests,
        user=requests.user[rest],
        now=requests.now[rest],
        surface=requests.surface[rest],
        acted=requests.acted.take(rest),
        shown=requests.shown.take(rest),
        exclude=empty,
        anchors=empty,
    )
