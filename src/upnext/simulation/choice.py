"""What people do with a slate: look down it with falling attention, click what appeals, watch, like, share.

The position-based model: P(click) = P(examined | position) x P(click | examined). Likes and shares need a click.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.simulation.world import World, examination
from upnext.types import Bool, Float32, Int32, Int64

WATCH_CONCENTRATION = 2.5  # of the Beta law of the watched share: low = skipped at once or seen to the end
SHORTEST_WATCH_MS = 1000
LOOK_MS = 2000  # spent on each position before the click
REACT_MS = 1500  # between the end of a watch and a like, and between a like and a share


@dataclass(frozen=True)
class Response:
    """What n users did with slates of k items, ``[n, k]`` each; times are Unix ms, 0 where nothing happened."""

    clicked: Bool
    liked: Bool
    shared: Bool
    seconds: Float32  # 0 where not clicked
    clicked_at: Int64
    watched_at: Int64  # the end of the watch

    @property
    def ends_at(self) -> Int64:
        """When each user is through with the slate, ``[n]``; 0 for who clicked nothing."""
        return np.asarray(self.watched_at.max(axis=1) + 2 * REACT_MS * (self.watched_at.max(axis=1) > 0))


def respond(world: World, users: Int32, slates: Int32, at: Int64, rng: np.random.Generator) -> Response:
    """Users ``[n]`` look at slates ``[n, k]`` (-1 = empty slot) from the moments ``at [n]`` on."""
    real = slates >= 0
    items = np.maximum(slates, 0)
    utility = world.utility(users, items, at)
    examined = rng.random(slates.shape) < examination(world.config)[: slates.shape[1]]
    clicked = real & examined & (rng.random(slates.shape) < world.p_click(utility))
    mean = np.clip(world.watch_share(utility, items), 0.01, 0.99).astype(np.float64)
    share = rng.beta(WATCH_CONCENTRATION * mean, WATCH_CONCENTRATION * (1 - mean))
    liked = clicked & (rng.random(slates.shape) < world.p_like(utility, items))
    shared = clicked & (rng.random(slates.shape) < world.p_share(utility, items))
    watched_ms = np.where(clicked, np.maximum(share * world.duration[items] * 1000, SHORTEST_WATCH_MS), 0)
    watched_ms = watched_ms.astype(np.int64)
    looked = LOOK_MS * (1 + np.arange(slates.shape[1]))
    earlier = np.cumsum(watched_ms, axis=1) - watched_ms  # one video after the other
    clicked_at = np.where(clicked, at[:, None] + looked + earlier, 0)
    seconds = (watched_ms / 1000).astype(np.float32)
    return Response(clicked, liked, shared, seconds, clicked_at, clicked_at + watched_ms)
