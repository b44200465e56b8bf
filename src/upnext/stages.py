"""The stages of the funnel as Protocols: each is a plain callable with one job.

The pipeline alone knows their order; what each returns is all that it can change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from upnext.types import Bool, Candidates, Column, Float32, Order, Requests, Slate


@runtime_checkable
class Source(Protocol):
    """Proposes items: at most ``k`` a request, with a float32 column ``score`` (higher is better).

    A row may not repeat an item within a request. A source that knows nothing about a request proposes nothing.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, requests: Requests, k: int) -> Candidates: ...


@runtime_checkable
class PairScorer(Protocol):
    """A source that can also say how well *any* item fits: the ranker reads it as a feature.

    Returns float32 ``[N]``, finite; 0 where the source knows nothing of the user or the item.
    """

    @property
    def name(self) -> str: ...

    def score(self, requests: Requests, candidates: Candidates) -> Float32: ...


@runtime_checkable
class KeptUp(Protocol):
    """A source that makes lists from the whole catalogue, which a server has made beside its requests.

    From the first call of ``keep_up`` on, requests take the lists as they are; without it they make them themselves.
    """

    def keep_up(self, now: int) -> None: ...


@runtime_checkable
class Hydrator(Protocol):
    """Adds what is known: feature columns ``[N, len(names)]`` in the order of the rows it was given."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def defaults(self) -> Float32:
        """``[len(names)]``, used for every row when the hydrator fails."""
        ...

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32: ...


@runtime_checkable
class Filter(Protocol):
    """True = keep. ``name`` is the reason that is counted. A filter that fails removes what it guards."""

    @property
    def name(self) -> str: ...

    def __call__(self, requests: Requests, candidates: Candidates) -> Bool: ...


@runtime_checkable
class Ranker(Protocol):
    """Predicts, one float32 column a task: ``p_<task>`` in [0, 1], and ``watch_seconds`` >= 0."""

    @property
    def name(self) -> str: ...

    def __call__(self, requests: Requests, candidates: Candidates) -> Mapping[str, Column]: ...


@runtime_checkable
class Value(Protocol):
    """Folds the predictions into the one number that the slate is ordered by, float32 ``[N]``."""

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32: ...


@runtime_checkable
class Boost(Protocol):
    """How much more (above 0) or less a row is worth to show than was predicted, as a share of its value: ``[N]``.

    ``utility = value + |value| * sum of the boosts``, so that a boost raises a negative value too.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32: ...


@runtime_checkable
class Reranker(Protocol):
    """Puts rows into slate order; sees all rows of a request at once; cannot invent items.

    Rows not in the answer are dropped; the pipeline cuts the final order to k.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, requests: Requests, candidates: Candidates) -> Order: ...


@runtime_checkable
class Observer(Protocol):
    """Hears of every answer after it was given; can neither delay nor break it."""

    @property
    def name(self) -> str: ...

    def __call__(self, requests: Requests, slate: Slate) -> None: ...
