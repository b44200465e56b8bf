"""Which features made the difference for one candidate: its value, less what it would be with one feature as usual.

As usual = the median of the page's candidates. What all candidates share (the user, the hour) can make no difference
between them, and is left out; so is what the network reads of the item itself and of the history.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from upnext.build import Model
from upnext.serving.console.kept import Kept
from upnext.types import Candidates, Column
from upnext.xray import CHOICE, number

MOST = 12


def mattered(page: Kept, row: int) -> list[dict[str, Any]]:
    """The features that moved the value most, the strongest first."""
    rows, model = page.slate.considered, page.funnels.model
    if model is None or rows.features is None or not len(rows):
        return []
    usual = np.median(rows.features, axis=0).astype(np.float32)
    mine = rows.features[row]
    differ = np.flatnonzero(mine != usual)
    if not len(differ):
        return []
    matrix = np.repeat(mine[None], len(differ) + 1, axis=0)
    matrix[np.arange(len(differ)), differ] = usual[differ]  # the last row is the candidate as it is
    many = np.full(len(matrix), rows.item[row], np.int32)
    table = Candidates(many, np.array([0, len(many)], np.int64)).with_features(matrix, rows.feature_names)
    predicted = table.with_columns({**model.ranker(page.asked.requests, table), **_choice(page, model, row, table)})
    value = page.funnels.whole.value(page.asked.requests, predicted)
    effect = value[-1] - value[:-1]
    strongest = np.argsort(-np.abs(effect), kind="stable")[:MOST]
    return [
        {
            "feature": rows.feature_names[differ[one]],
            "value": number(mine[differ[one]]),
            "usual": number(usual[differ[one]]),
            "effect": number(effect[one]),
        }
        for one in strongest.tolist()
        if effect[one] != 0
    ]


def _choice(page: Kept, model: Model, row: int, table: Candidates) -> dict[str, Column]:
    """How likely each row of the table would be chosen in the place of the candidate ``row``, which is its last."""
    rows, choice = page.slate.considered, model.choice
    if choice is None or CHOICE not in rows:
        return {}
    likely, mine, counted = choice(table), choice(rows)[row], rows[CHOICE][row]
    least = counted if counted > mine else 0.0  # it is owed impressions, and counts as so much whatever its features
    return {CHOICE: np.clip(mine * likely / likely[-1], least, 1.0).astype(np.float32)}
