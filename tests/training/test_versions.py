"""Training on a running home: going on from the active version, and not letting a worse one serve by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from upnext.candidates.als import ALSFactors
from upnext.content import Vocabulary
from upnext.errors import ArtifactError, HomeError
from upnext.home import Home
from upnext.serving.engine import Engine
from upnext.simulation.frames import simulate
from upnext.simulation.world import WorldConfig
from upnext.training.progress import Silent
from upnext.training.run import Trained, train

DAY_MS = 86_400_000
START = 1_736_121_600_000
THEN = START + int(2.5 * DAY_MS)  # the first version ends here, of 4 days
SMALL = (
    "candidates.als.embedding_size=8",
    "candidates.als.epochs=3",
    "candidates.two_tower.embedding_size=16",
    "candidates.two_tower.epochs=2",
    "candidates.two_tower.batch_size=128",
    "ranking.batch_size=128",
    "ranking.epochs=6",  # with two, whether it beats an untrained network is luck
    "ranking.expert_sizes=[16, 8]",
    "training.threads=1",
)
WORSE = (*SMALL, "ranking.learning_rate=1e-9")  # a network that has learned nothing


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of four days whose version has seen two and a half. Not to be written to."""
    data = simulate(WorldConfig(items=500, users=160, impressions=8_000, days=4, seed=1, start_at=START))
    home = Home.open(Home.create(tmp_path_factory.mktemp("versions") / "home").directory, SMALL)
    log = home.log()
    log.upsert_items(data.items)
    log.upsert_users(data.users)
    log.append_events(data.events)
    log.close()
    assert _train(home, THEN).active
    return home.directory


@pytest.fixture
def home_with(trained: Path, tmp_path: Path) -> Callable[..., Home]:
    """A copy of it, opened with these settings."""

    def opened(*settings: str) -> Home:
        if not (tmp_path / "home").exists():
            shutil.copytree(trained, tmp_path / "home")
        return Home.open(tmp_path / "home", settings or SMALL)

    return opened


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def _train(home: Home, until: int | None = None, **how: object) -> Trained:
    found = train(home, until, Silent(), **how)  # type: ignore[arg-type]
    assert found is not None
    return found


# -- going on


def test_a_warm_training_goes_on_with_what_is_new(home_with: Callable[..., Home]) -> None:
    home = home_with()
    log = home.log()
    last = int(log.read_events().received_at.max())
    names = [f"fresh{n}" for n in range(3)]
    fresh = {
        "item_id": names,
        "title": ["Zyzzyva"] * 3,
        "author": ["Somebody New"] * 3,
        "categories": [["novelty"]] * 3,
    }
    log.upsert_items(pl.DataFrame(fresh))
    clicks = {"event_type": "click", "user_id": [f"new{n}" for n in range(6)], "item_id": names * 2}
    log.append_events(pl.DataFrame({**clicks, "happened_at": [last + n for n in range(6)]}))
    codes = np.array([log.ids("item").index(name) for name in names])
    log.close()
    before, first = home.models().open()
    made = _train(home, warm=True)
    after, second = home.models().open()
    assert made.manifest.version == second.version != first.version
    assert made.active
    assert "the same" in made.why
    assert (second.first_offset, second.until_ms) == (first.first_offset, last + 6)
    assert second.details["warm"] == {"from": first.version, "new_events": second.events - first.events}
    assert second.feature_names == first.feature_names
    curve = second.metrics["ranker"]["curve"]
    assert [point["epoch"] for point in curve] == [0.0, 1.0]
    old, new = (Vocabulary.load(folder / "ranker") for folder in (before, after))
    assert new.title.names[: len(old.title)] == old.title.names
    assert "zyzzyva" in new.title
    assert "Somebody New" in new.author
    assert set(codes) <= set(new.items.tolist())
    als = ALSFactors.load(after / "sources" / "als")
    assert np.abs(als.item[np.isin(als.codes, codes)]).sum() > 0
    with Engine(home) as engine:
        answer = engine.recommend(user_id="u1", n=10)
        assert (answer["model_version"], answer["degraded"]) == (second.version, [])
        assert len(answer["items"]) == 10
    assert not list(after.rglob("*.pkl"))


def test_a_warm_version_can_be_gone_on_from_too(home_with: Callable[..., Home]) -> None:
    home = home_with()
    middle = _train(home, THEN + DAY_MS // 2, warm=True).manifest
    last = _train(home, warm=True).manifest
    assert last.details["warm"]["from"] == middle.version
    assert last.details["ranker_learned_until"] > middle.details["ranker_learned_until"] > THEN
    assert last.last_offset > middle.last_offset


def test_the_manifest_says_how_long_each_step_took(home_with: Callable[..., Home]) -> None:
    _, manifest = home_with().models().open()
    steps = [name for name, _ in manifest.metrics["seconds"]]
    assert steps.count("two-tower") == 2  # for the ranker's examples, then to serve
    assert {"ALS", "co-visitation", "item vectors", "item index", "ranker", "source scores"} <= set(steps)
    assert all(seconds >= 0 for _, seconds in manifest.metrics["seconds"])


def test_without_news_nothing_is_made(home_with: Callable[..., Home]) -> None:
    home = home_with()
    first = home.models().active()
    said = Said()
    assert train(home, THEN, said, warm=True) is None
    assert home.models().versions() == [first]
    assert said.lines == [f"Nothing is new since version {first} (trained until 2025-01-08T12:00:00+00:00)"]


def test_events_written_late_with_an_older_time_are_new_too(home_with: Callable[..., Home]) -> None:
    home = home_with()
    _train(home)
    log = home.log()
    late = {"event_type": ["click"], "user_id": ["late"], "item_id": ["i1"], "happened_at": [START + 5]}
    log.append_events(pl.DataFrame(late))
    log.close()
    said = Said()
    made = train(home, None, said, warm=True)
    assert made is not None
    assert made.manifest.details["warm"]["new_events"] == 1
    assert said.lines[0].startswith("1 new events since")
    assert "left as it is" in said.lines[1]
    assert "too few new rows" in made.why
    assert train(home, None, Silent(), warm=True) is None


def test_too_little_news_leaves_the_ranker_as_it_was(home_with: Callable[..., Home]) -> None:
    home = home_with()
    before, _ = home.models().open()
    _train(home, THEN + DAY_MS // 12, warm=True)
    after, manifest = home.models().open()
    assert manifest.metrics["ranker"] == {**manifest.metrics["ranker"], "rows": 0, "curve": [], "validation": {}}
    with np.load(before / "ranker" / "weights.npz") as old, np.load(after / "ranker" / "weights.npz") as new:
        assert set(old) == set(new)
        np.testing.assert_array_equal(old["network.of_row.weight"], new["network.of_row.weight"])
        assert len(new["encoder.id.weight"]) >= len(old["encoder.id.weight"])


def test_a_home_without_impressions_goes_on_from_what_was_chosen(tmp_path: Path) -> None:
    data = simulate(WorldConfig(items=500, users=160, impressions=8_000, days=4, seed=2, start_at=START))
    home = Home.open(Home.create(tmp_path / "home").directory, SMALL)
    log = home.log()
    log.upsert_items(data.items)
    log.append_events(data.events.filter(pl.col("event_type") != "impression"))
    log.close()
    first, second = _train(home, THEN).manifest, _train(home, warm=True).manifest
    for manifest in (first, second):
        assert manifest.details["examples"] == "choices"
        assert manifest.tasks == ("click",)
    assert [point["epoch"] for point in second.metrics["ranker"]["curve"]] == [0.0, 1.0]
    assert second.metrics["against_active"]["active"].keys() == {"click auc"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("ranking.embedding_size=8", "ranking.embedding_size is 8, it has 32"),
        ("features.half_lives_days=[3.0]", r"features.half_lives_days is \[3.0\], it has \[1.0, 14.0\]"),
        ('ranking.tasks.extra.event="follow"', "ranking.tasks.extra.event is 'follow', it has not set"),
        ("candidates.als.enabled=false", "candidates.als.enabled is False, it has True"),
    ],
)
def test_other_settings_need_a_full_training(home_with: Callable[..., Home], changed: str, told: str) -> None:
    home = home_with(*SMALL, changed)
    with pytest.raises(HomeError, match=f"{told}.* Run `upnext train`, in full"):
        train(home, None, Silent(), warm=True)
    assert len(home.models().versions()) == 1


def test_weights_of_the_ranking_value_may_change(home_with: Callable[..., Home]) -> None:
    assert _train(home_with(*SMALL, "ranking.tasks.click.weight=7"), THEN + DAY_MS // 12, warm=True).active


def test_what_cannot_be_gone_on_from_is_said(home_with: Callable[..., Home]) -> None:
    home = home_with()
    with pytest.raises(HomeError, match=r"--until 2025-01-07T00:00:00\+00:00 is earlier"):
        train(home, START + DAY_MS, Silent(), warm=True)
    folder, manifest = home.models().open()
    path = folder / "manifest.json"
    stored = json.loads(path.read_text())
    del stored["details"]["architecture"]
    path.write_text(json.dumps(stored))
    with pytest.raises(HomeError, match=f"version {manifest.version} kept nothing to go on from"):
        train(home, None, Silent(), warm=True)
    (folder / "ranker" / "scorer.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"scorer\.onnx: is missing"):
        train(home, None, Silent(), warm=True)
    shutil.rmtree(home.models().directory)
    with pytest.raises(HomeError, match="no version is active"):
        train(home, None, Silent(), warm=True)


# -- the guard


def test_a_worse_version_is_published_but_does_not_serve(home_with: Callable[..., Home]) -> None:
    home = home_with(*WORSE)
    models = home.models()
    good = models.active()
    made = _train(home)
    assert not made.active
    assert models.active() == good
    assert models.versions() == [good, made.manifest.version]
    models.open(made.manifest.version)
    compared = made.manifest.metrics["against_active"]
    assert compared["worse"] > 0.02
    assert f"lower than the active version's by {compared['worse']:.4f}" in made.why
    assert "training.max_regression = 0.02" in made.why
    assert "which neither learned from" in made.why
    new, old = made.manifest.metrics["ranker"]["validation"], compared["active"]
    assert f"click auc {new['click auc']:.4f} against {old['click auc']:.4f}" in made.why
    assert old["click auc"] > 0.6


def test_force_activates_a_worse_version_and_says_that_it_is(home_with: Callable[..., Home]) -> None:
    home = home_with(*WORSE)
    made = _train(home, activation="always")
    assert made.active
    assert "lower than the active version's" in made.why
    assert home.models().active() == made.manifest.version
    assert home.models().rollback()[0] != made.manifest.version


def test_a_margin_wide_enough_lets_it_pass(home_with: Callable[..., Home]) -> None:
    assert _train(home_with(*WORSE, "training.max_regression=1.0")).active


def test_publishing_only(home_with: Callable[..., Home]) -> None:
    home = home_with()
    first = home.models().active()
    made = _train(home, activation="never")
    assert (made.active, home.models().active()) == (False, first)
    assert made.why.startswith("as asked")


def test_rows_that_the_active_version_learned_from_prove_nothing(home_with: Callable[..., Home]) -> None:
    """An earlier window's slice lies in what the active version knows: then the stored figures are compared."""
    made = _train(home_with(*WORSE, "training.validation_share=0.4"), THEN - DAY_MS // 2)
    assert "each on the validation slice of its own training" in made.why
    assert "learned from rows of this slice itself" in made.why
    assert not made.active


def test_a_version_of_other_features_is_compared_by_stored_figures(home_with: Callable[..., Home]) -> None:
    made = _train(home_with(*WORSE, "features.half_lives_days=[3.0]"))
    assert "was trained on other features" in made.why
    assert not made.active


def test_a_damaged_active_version_does_not_stand_in_the_way(home_with: Callable[..., Home]) -> None:
    home = home_with()
    scorer = home.models().open()[0] / "ranker" / "scorer.onnx"
    scorer.write_bytes(scorer.read_bytes()[:-1])
    made = _train(home)
    assert made.active
    assert "cannot be compared with" in made.why
    assert "scorer.onnx" in made.why
