"""Whether the order of a log means anything, for what may be learned from it.

Some logs are sets that somebody numbered. There a counter as of some place tells how much is left to be drawn, and what
was left out at random is nothing like the future (docs/decisions/0015).
"""

from __future__ import annotations

import numpy as np

from upnext.candidates.because_you_watched import Reading
from upnext.training.interactions import Interactions

FEWEST_VISITS = 10  # of an item that is looked at
DEVIATIONS = 4.0  # of what chance does, and the items come and go


def in_order(everything: Interactions, reading: Reading | None) -> bool:
    """False where histories are best read whatever their order, and items fare in the whole log as in any part of it.

    ``reading`` is None where nobody has looked.
    """
    return reading is None or reading.in_order or drift(everything) > DEVIATIONS


def drift(everything: Interactions) -> float:
    """How much more the items' shares of the log's two halves differ than by chance, in standard deviations.

    Of the events of one user with one item any one is taken: it has half a chance to be in either half of a log in
    random order, and the squares of what an item has more there, over their expectation, a mean of 1 and a variance of
    about 2 over the number of items.
    """
    pair = everything.user.astype(np.int64) << 32 | everything.item
    order = np.random.default_rng(0).permutation(len(pair))
    taken = np.sort(order[np.unique(pair[order], return_index=True)[1]])
    item = everything.item[taken]
    number = np.bincount(item, minlength=everything.items)
    late = np.bincount(item[len(item) // 2 :], minlength=everything.items)
    looked_at = number >= FEWEST_VISITS
    if not looked_at.any():
        return 0.0
    number, late = number[looked_at], late[looked_at]
    square = (2 * late - number) ** 2 / number
    return float((square.mean() - 1) / np.sqrt(2 / len(square)))
