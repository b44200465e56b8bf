from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from upnext.config import Config, RankingConfig
from upnext.evaluation.slates import Shown, Visits, slate_metrics, worth
from upnext.features.replay import Moments
from upnext.live import Live
from upnext.reranking.similarity import Similarity
from upnext.storage.sqlite import SQLiteLog
from upnext.training.examples import Examples
from upnext.types import Float32, Ragged


def test_the_worth_of_an_item_is_all_that_its_user_did_where_it_was_shown() -> None:
    """By the weights of the tasks: click 1, like 2, share 4, long view 0, a second watched .01."""
    users, items = [3, 1, 3], [[7, 8], [7], [7]]
    offsets = np.cumsum([0, *map(len, items)]).astype(np.int64)
    moments = Moments(
        np.array(users, np.int32), np.arange(3), np.arange(3), np.concatenate(items).astype(np.int32), offsets
    )

    def column(*values: float) -> Float32:
        return np.array(values, np.float32)

    labels = {
        "click": column(1, 0, 1, 1),
        "like": column(1, 0, 0, 0),
        "share": column(0, 0, 0, 1),
        "long_view": column(1, 1, 1, 1),
        "watch": column(50, 0, 30, 100),
    }
    examples = Examples(moments, np.zeros(3, np.int16), np.full(4, -1, np.int16), labels)
    truth = Ragged.of([[7, 9], [], [8, 7]])
    asked = Visits(np.array([1, 2, 3], np.int32), np.zeros(3, np.int64), np.zeros(3, np.int16), truth)
    found = worth(asked, examples, RankingConfig().tasks)
    np.testing.assert_allclose(found, [1.3, 0, 0, (1 + 2 + 0.5) + (1 + 4 + 1)])
    nothing = Examples(
        Moments(*(np.empty(0, np.int64) for _ in range(4)), np.zeros(1, np.int64)),
        np.empty(0, np.int16), np.empty(0, np.int16), {name: np.empty(0, np.float32) for name in labels},
    )  # fmt: skip
    np.testing.assert_array_equal(worth(asked, nothing, RankingConfig().tasks), [0, 0, 0, 0])


def test_value_is_measured_where_something_was_given_and_left_out_where_nothing_was(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.db")
    log.upsert_items(pl.DataFrame({"item_id": ["a", "b", "c"]}))
    live = Live(log, Config(), events=False)
    asked = Visits(np.zeros(1, np.int32), np.ones(1, np.int64), np.zeros(1, np.int16), Ragged.of([[0, 2]]))
    shown = Shown()
    for name, items in (("full funnel", [0, 1]), ("before reranking", [1, 2]), ("popularity", [1, -1])):
        shown.add(name, np.array([items], np.int32))
    alike, seen = Similarity(live.catalogue), np.ones(3, np.float32)
    with_worth = slate_metrics(shown, asked, np.array([3, 1], np.float32), live, 2, alike, seen)
    assert [with_worth[name]["value@2"] for name in shown.lists] == [0.75, 0.25, 0.0]
    without = slate_metrics(shown, asked, np.zeros(2, np.float32), live, 2, alike, seen)
    assert all("value@2" not in row and row["recall@2"] is not None for row in without.values())
