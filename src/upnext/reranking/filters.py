"""What is never shown. Each filter is one rule; its name is the reason that is counted.

Views are callables, because catalogue, users and histories grow while the filters are in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.reranking.lookup import gather, in_lists, ragged
from upnext.types import NO_USER, Bool, Candidates, Catalogue, Int32, Requests, Users


@dataclass(slots=True)
class Available:
    """Items of the catalogue that can be had: not withdrawn, not deleted, not a code beyond its end."""

    catalogue: Callable[[], Catalogue]
    name: str = "available"

    def __call__(self, requests: Requests, candidates: Candidates) -> Bool:
        return gather(self.catalogue().available, candidates.item, False)


@dataclass(slots=True)
class Published:
    """Items whose time of publication has come, or is unknown (0)."""

    catalogue: Callable[[], Catalogue]
    name: str = "published"

    def __call__(self, requests: Requests, candidates: Candidates) -> Bool:
        published = gather(self.catalogue().published_at, candidates.item, 0)
        return np.asarray(published <= requests.now[candidates.request])


@dataclass(slots=True)
class Watched:
    """Items that the user has not acted on yet; what the watch_again source proposes is spared.

    ``seen(user)`` are item codes. A user who is unknown has seen what the request's own history holds.
    """

    seen: Callable[[int], Int32]
    name: str = "watched"

    def __call__(self, requests: Requests, candidates: Candidates) -> Bool:
        if requests.allow_watched:
            return np.ones(len(candidates), np.bool_)
        seen = [
            requests.acted.item[request] if user == NO_USER else self.seen(user)
            for request, user in enumerate(requests.user.tolist())
        ]
        fresh = ~in_lists(candidates.request, candidates.item, ragged(seen))
        if "score_watch_again" in candidates:
            fresh |= np.isfinite(candidates["score_watch_again"])
        return fresh


@dataclass(slots=True)
class Excluded:
    """Items that the caller did not rule out, and that are not the anchors whose neighbours are wanted."""

    name: str = "excluded"

    def __call__(self, requests: Requests, candidates: Candidates) -> Bool:
        request, item = candidates.request, candidates.item
        return ~(in_lists(request, item, requests.exclude) | in_lists(request, item, requests.anchors))


@dataclass(slots=True)
class Blocked:
    """Items whose author the user did not block and that the user did not hide or dislike (``hidden(user)``)."""

    catalogue: Callable[[], Catalogue]
    users: Callable[[], Users]
    hidden: Callable[[int], Int32]
    name: str = "blocked"

    def __call__(self, requests: Requests, candidates: Candidates) -> Bool:
        blocked, nothing = self.users().blocked_authors, np.empty(0, np.int32)
        users = requests.user.tolist()
        authors = ragged([blocked.get(user, nothing) for user in users])
        hidden = ragged([nothing if user == NO_USER else self.hidden(user) for user in users])
        author = gather(self.catalogue().author, candidates.item, -1)
        request = candidates.request
        unwanted = in_lists(request, author, authors) | in_lists(request, candidates.item, hidden)
        return ~unwanted


@dataclass(slots=True)
class InCategories:
    """Items with at least one of the categories that the request asks for (None = any item)."""

    catalogue: Callable[[], Catalogue]
    name: str = "in_categories"

    def __call__(self, requests: Requests, candidates: Candidates) -> Bool:
        if requests.categories is None:
            return np.ones(len(candidates), np.bool_)
        wanted = requests.categories[requests.categories >= 0]  # -1 would match the padding
        category = gather(self.catalogue().category, candidates.item, -1)
        return np.asarray(np.isin(category, wanted).any(axis=1))
