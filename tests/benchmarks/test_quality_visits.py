"""The slates of the benchmark are those of `upnext evaluate`, measured by other code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benchmarks.quality import visits

from tests.serving.conftest import SMALL
from upnext.evaluation.run import evaluate
from upnext.home import Home
from upnext.simulation.frames import simulate
from upnext.simulation.world import WorldConfig
from upnext.training.progress import Silent
from upnext.training.run import train

DAY_MS = 86_400_000
START = 1_736_121_600_000
SETTINGS = (*SMALL, "evaluation.users=0")


def test_every_way_of_choosing_is_measured_as_evaluate_measures_it(tmp_path: Path) -> None:
    data = simulate(WorldConfig(items=400, users=200, impressions=7_500, days=4, seed=1, start_at=START))
    home = Home.open(Home.create(tmp_path / "home").directory, SETTINGS)
    log = home.log()
    log.upsert_items(data.items)
    log.upsert_users(data.users)
    log.append_events(data.events)
    log.close()
    assert train(home, START + 3 * DAY_MS, Silent()) is not None
    shown = visits.first_visits(home.directory, SETTINGS)
    found = evaluate(home, None, None, Silent())
    assert len(shown.truth) == found["users"] > 20
    rows = {row["system"]: row for row in visits.measured([shown])}
    slate = found["stages"]["slate"]
    assert rows.keys() == slate.keys()
    for name, row in rows.items():
        for measure in map(str, visits.MEASURES):
            np.testing.assert_allclose(row[measure], [slate[name][measure]], err_msg=f"{name} {measure}")
    best = max(
        slate.keys() - {"full funnel", "before reranking", "popularity"}, key=lambda name: slate[name]["ndcg@10"]
    )
    assert rows["full funnel"]["ndcg@10 difference"]["to"] == best
    assert rows[best]["ndcg@10 difference"]["to"] != best, "the best is compared with the next"
