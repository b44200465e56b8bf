import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.candidates.towers import CONFIG, HOUR, LENGTH, RINGS, USERS, fit, world
from upnext.config import TwoTowerConfig
from upnext.content import moved_rows
from upnext.training.progress import Silent
from upnext.training.sequences import batch_of, sequences, user_ends
from upnext.training.serving_tower import ServingUserTower
from upnext.training.tower_trainer import TowerTrainer
from upnext.training.two_tower import TwoTowerModel, _latest, fit_two_tower
from upnext.training.user_tower import UserTower
from upnext.training.weights import Weights

LAST_STEP = 7000 * HOUR


@pytest.fixture(scope="module")
def model() -> TwoTowerModel:
    return fit()


@pytest.mark.parametrize("encoder", ["average", "transformer"])
def test_it_learns_what_comes_next(encoder: str) -> None:
    model = fit(CONFIG.model_copy(update={"encoder": encoder}), validation_from=LAST_STEP)
    assert model.recall[-1] > 0.8
    assert np.allclose(np.linalg.norm(model.vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("encoder", ["average", "transformer"])
def test_only_the_transformer_minds_the_order_and_none_sees_the_future(encoder: str) -> None:
    torch.manual_seed(0)
    _, _, words, _ = world()
    tower = UserTower(words, 16, 6, encoder, 0.0, 0.0).eval()
    if tower.block is not None:
        torch.nn.init.normal_(tower.block.distance)
    history = torch.nn.functional.normalize(torch.randn(1, 6, 16), dim=-1)
    swapped, later = history[:, [0, 2, 1, 3, 4, 5]], history.clone()
    later[:, 4:] = 1

    def answers(vectors: torch.Tensor) -> torch.Tensor:
        at = torch.arange(6)[None, :] * HOUR
        one = torch.ones(1, 6)
        nobody, nothing = torch.zeros(1, dtype=torch.int32), torch.zeros(1, 6, dtype=torch.int32)
        with torch.no_grad():
            return tower(nobody, vectors, one, at, at + 1, nothing, nothing)[0]

    assert torch.allclose(answers(swapped)[5], answers(history)[5], atol=1e-6) == (encoder == "average")
    assert torch.allclose(answers(later)[:4], answers(history)[:4], atol=1e-6)
    assert not torch.allclose(answers(later)[4:], answers(history)[4:], atol=1e-3)


def test_new_items_are_placed_by_their_content(model: TwoTowerModel) -> None:
    new, known = model.vectors[RINGS * LENGTH :], model.vectors[: RINGS * LENGTH]
    similarity = (new @ known.T).reshape(RINGS, RINGS, LENGTH).mean(2)
    assert similarity.argmax(1).tolist() == list(range(RINGS))


def test_the_same_seed_gives_the_same_model(model: TwoTowerModel) -> None:
    short = CONFIG.model_copy(update={"epochs": 2})
    assert np.array_equal(fit(short).vectors, fit(short).vectors)
    assert not np.array_equal(fit(short).vectors, fit(short, seed=1).vectors)


def test_training_positions_and_serving_give_the_same_user_vectors(model: TwoTowerModel) -> None:
    """A sequence answered at all positions at once must equal each of its prefixes, asked like a request."""
    interactions, _, _, attributes = world()
    seen = sequences(interactions)
    tower, size = model.user_tower.eval(), CONFIG.history_size
    ends = user_ends(seen, np.arange(len(seen)))[:5]
    whole = batch_of(seen, ends, 8, 100)
    table = np.concatenate([np.zeros((1, model.vectors.shape[1]), np.float32), model.vectors])
    user = torch.zeros(5, dtype=torch.int32)
    about = torch.from_numpy(attributes[whole.user])

    def vectors(item: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(table[item + 1])

    with torch.no_grad():
        everywhere = tower(
            user, vectors(whole.item), torch.from_numpy(whole.weight), torch.from_numpy(whole.at),
            torch.from_numpy(whole.now), about, torch.from_numpy(whole.surface),
        )  # fmt: skip
        for back in range(8):
            asked = batch_of(seen, ends - back, size, 1)
            served = ServingUserTower(tower)(
                user, vectors(asked.item), torch.from_numpy(asked.weight), torch.from_numpy(asked.at),
                torch.from_numpy(asked.now[:, -1].copy()), about, torch.from_numpy(asked.surface[:, -1].copy()),
            )  # fmt: skip
            assert torch.allclose(served, everywhere[:, 7 - back], atol=1e-5), back


def test_it_stops_when_recall_no_longer_rises_and_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])
    monkeypatch.setattr(TowerTrainer, "recall", lambda self, queries: next(told))
    assert fit(validation_from=LAST_STEP).recall == (0.1, 0.5, 0.4, 0.3, 0.2)


def test_the_validation_slice_is_learned_in_the_end() -> None:
    """Items that occur only in the slice have an embedding of their own after the refit, and none without."""
    seen, content, words, attributes = world()
    shared = {"seed": 0, "threads": 1, "validation_from": LAST_STEP}
    config = CONFIG.model_copy(update={"epochs": 2})
    once = fit_two_tower(seen, content, words, attributes, config, progress=Silent(), refit=False, **shared)
    more = fit_two_tower(seen, content, words, attributes, config, progress=Silent(), refit=True, **shared)
    assert once.recall == more.recall
    assert not np.array_equal(once.vectors, more.vectors)


def test_towers_go_on_from_their_weights(tmp_path: Path) -> None:
    seen, content, words, attributes = world()
    half = CONFIG.model_copy(update={"epochs": 1, "learning_rate": 1e-3})
    shared = {"seed": 0, "threads": 1, "progress": Silent(), "validation_from": LAST_STEP}
    first = fit_two_tower(seen, content, words, attributes, half, refit=False, **shared)
    first.save(tmp_path, Silent())
    start = Weights.load(tmp_path, moved_rows(words, words))
    again = fit_two_tower(seen, content, words, attributes, half, refit=False, start=start, **shared)
    assert again.recall[0] == first.recall[-1] == max(first.recall)
    assert again.recall[-1] > first.recall[-1] + 0.05
    some = np.array([3, 4], np.int32)
    few = fit_two_tower(seen, content, words, attributes, half, start=start, users=some, **shared)
    known = words.users.searchsorted(some) + 1
    moved = (few.user_tower.user.weight != first.user_tower.user.weight).any(dim=1).nonzero()[:, 0]
    assert set(moved.tolist()) <= set(known.tolist())


def test_no_interactions_still_make_a_model(tmp_path: Path) -> None:
    seen, content, words, attributes = world()
    nothing = type(seen)(seen.user[:0], seen.item[:0], seen.weight[:0], seen.at[:0], USERS, len(content))
    model = fit_two_tower(
        nothing, content, words, attributes, TwoTowerConfig(embedding_size=8, epochs=1),
        seed=0, threads=1, progress=Silent(),
    )  # fmt: skip
    model.save(tmp_path, Silent())
    assert model.vectors.shape == (len(content), 8)


def test_what_is_saved(model: TwoTowerModel, tmp_path: Path) -> None:
    model.save(tmp_path / "two_tower", Silent())
    names = {path.name for path in (tmp_path / "two_tower").iterdir()}
    assert names == {
        "user_tower.onnx", "item_tower.onnx", "item_vectors.npy", "index.faiss", "index_codes.npy", "index.json",
        "vocabulary.json", "vocabulary_items.npy", "vocabulary_users.npy", "two_tower.json", "weights.npz",
    }  # fmt: skip
    settings = json.loads((tmp_path / "two_tower" / "two_tower.json").read_text())
    assert settings["history_size"] == CONFIG.history_size


def test_recall_in_a_large_catalogue_looks_among_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, content, words, attributes = world()
    once_more = sequences(seen)
    trainer = TowerTrainer(once_more, content, words, attributes, CONFIG, seed=0)
    queries = trainer.validation_queries(np.arange(len(once_more)))
    everything = trainer.recall(queries)
    monkeypatch.setattr("upnext.training.tower_trainer.VALIDATION_ITEMS", trainer.items - 1)
    assert trainer.recall(queries) == everything  # whatever the queries' users met is compared, and here that is all
    met = np.unique(once_more.item[:LENGTH])
    monkeypatch.setattr("upnext.training.tower_trainer.VALIDATION_ITEMS", 1)
    few = trainer.recall(queries[queries < LENGTH])
    assert few == trainer.recall(queries[queries < LENGTH])
    assert len(met) < trainer.items
    assert few >= trainer.recall(queries)  # fewer rivals: nearer to the top


def test_the_index_is_asked_as_users_who_came_back_ask_it() -> None:
    seen = sequences(world()[0])
    rows = _latest(seen, np.arange(len(seen)), 10)
    users = np.unique(seen.user)
    assert len(rows) == min(10, len(users)) == len(np.unique(seen.user[rows]))
    assert {int(users[0]), int(users[-1])} <= set(seen.user[rows].tolist())  # from all of them, not from the last
    assert all(row == len(seen) - 1 or seen.user[row + 1] != seen.user[row] for row in rows.tolist())
    assert (rows > seen.start[rows]).all()
    firsts = np.flatnonzero(seen.start == np.arange(len(seen)))
    assert set(_latest(seen, firsts, 10).tolist()) <= set(firsts.tolist())  # nobody came back
    assert len(_latest(seen, firsts[:0], 10)) == 0
