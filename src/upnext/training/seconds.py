"""Watch time as a distribution over bins of seconds: a mean and a median can be read from it."""

from __future__ import annotations

import numpy as np

from upnext.types import Float32, Int64

SECONDS_BINS = 32
TINY = np.float32(1e-3)


def seconds_edges(seconds: Float32, cap: float, bins: int = SECONDS_BINS) -> Float32:
    """Bin edges: [0, tiny) for "not watched", then quantiles of what was watched, up to the cap."""
    watched, last = seconds[seconds > 0], np.float32(cap)
    inner = np.quantile(watched, np.linspace(0, 1, bins)[1:-1]) if len(watched) else np.linspace(1, cap, bins - 1)
    inner = inner.astype(np.float32)
    return np.unique(np.concatenate([[np.float32(0), TINY], inner[(inner > TINY) & (inner < last)], [last]]))


def bin_of(seconds: Float32, edges: Float32) -> Int64:
    """The bin of each value; the last bin includes the cap."""
    return np.clip(np.searchsorted(edges, seconds, side="right") - 1, 0, len(edges) - 2)
