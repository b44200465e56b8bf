import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.candidates.towers import CONFIG, HOUR, ITEMS, LENGTH, RINGS, USERS, catalogue, fit, following
from upnext.candidates.index import ItemIndex
from upnext.candidates.two_tower import TwoTower, recent_items
from upnext.content import ATTRIBUTES, Vocabulary, encode_items
from upnext.errors import ArtifactError
from upnext.stages import PairScorer, Source
from upnext.training.progress import Silent
from upnext.types import Candidates, Catalogue, History, Int32, Ragged, Requests

WATCH, DISLIKE = 0, 1
WEIGHT, LEAST = np.array([1, -1], np.float32), np.full(2, -np.inf, np.float32)
NOW = 8000 * HOUR


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("two_tower")
    fit().save(directory, Silent())
    return directory


def load(directory: Path) -> TwoTower:
    def attributes(user: Int32) -> Int32:
        codes = np.zeros((len(user), ATTRIBUTES), np.int32)
        codes[(user >= 0) & (user < USERS), 0] = 1
        return codes

    return TwoTower.load(directory, WEIGHT, LEAST, attributes, lambda surface: np.ones(len(surface), np.int32))


@pytest.fixture
def source(saved: Path) -> TwoTower:
    return load(saved)


def requests(
    histories: list[list[int]],
    user: int = -1,
    anchors: list[list[int]] | None = None,
    event: int = WATCH,
    allow_watched: bool = False,
) -> Requests:
    batch, size = len(histories), 12
    acted = History.empty(batch, size)
    for row, items in enumerate(histories):
        if items:
            acted.item[row, -len(items) :] = items
            acted.event[row, -len(items) :] = event
            acted.at[row, -len(items) :] = NOW + 1000 * HOUR * np.arange(-len(items), 0)
    return Requests(
        user=np.full(batch, user, np.int32),
        now=np.full(batch, NOW, np.int64),
        surface=np.zeros(batch, np.int16),
        k=10,
        acted=acted,
        shown=History.empty(batch, 1),
        exclude=Ragged.empty(batch),
        anchors=Ragged.of(anchors or [[]] * batch),
        allow_watched=allow_watched,
    )


def ring(items: Int32 | list[int]) -> list[int]:
    return [int(item) // LENGTH if item < RINGS * LENGTH else int(item) - RINGS * LENGTH for item in items]


def test_it_is_a_source_and_a_pair_scorer(source: TwoTower) -> None:
    assert isinstance(source, Source)
    assert isinstance(source, PairScorer)


def test_it_proposes_what_comes_next_to_an_anonymous_session(source: TwoTower) -> None:
    """Mostly among the best three of 37; no more than the right ring known, three times in seven."""
    starts = range(RINGS * LENGTH)
    histories = [[start, following(start), following(following(start))] for start in starts]
    answer = source(requests(histories), 5)
    assert np.diff(answer.offsets).tolist() == [5] * len(starts)
    foretold = 0
    for row, history in enumerate(histories):
        found = answer.of_request(row)
        foretold += following(history[-1]) in found.item[:3].tolist()
        assert not set(history) & set(found.item.tolist())
        assert (np.diff(np.asarray(found["score"])) <= 0).all()
    assert foretold > 0.6 * len(starts)


def test_watched_items_are_proposed_where_that_is_allowed(source: TwoTower) -> None:
    answer = source(requests([[3, 4, 5]], allow_watched=True), ITEMS)
    assert sorted(answer.item.tolist()) == list(range(ITEMS))


def test_nothing_known_means_nothing_proposed(source: TwoTower) -> None:
    nobody = requests([[], [0, 1], [999], []])
    answer = source(nobody, 5)
    assert np.diff(answer.offsets).tolist() == [0, 5, 0, 0]
    everything = Candidates(np.arange(4, dtype=np.int32), np.arange(5, dtype=np.int64))
    assert (source.score(nobody, everything) != 0).tolist() == [False, True, False, False]


def test_a_dislike_is_no_history(source: TwoTower) -> None:
    assert len(source(requests([[0, 1]], event=DISLIKE), 5)) == 0


def test_a_known_user_without_history_gets_proposals(source: TwoTower) -> None:
    assert len(source(requests([[]], user=3), 5)) == 5


def test_scores_of_pairs_are_the_scores_of_proposals(source: TwoTower) -> None:
    asked = requests([[0, 1], [13, 14, 15], [38]], user=2)
    answer = source(asked, 8)
    assert source.score(asked, answer) == pytest.approx(np.asarray(answer["score"]), abs=1e-5)


def test_items_it_never_saw_score_zero(source: TwoTower) -> None:
    asked = requests([[0, 1]])
    unknown = Candidates(np.array([-1, ITEMS, 10**6, 2], np.int32), np.array([0, 4], np.int64))
    scores = source.score(asked, unknown)
    assert scores[:3].tolist() == [0, 0, 0]
    assert scores[3] != 0


def test_anchors_ask_for_similar_items(source: TwoTower) -> None:
    answer = source(requests([[30, 31], [0, 1]], anchors=[[11], []]), 6)
    similar, own = answer.of_request(0), answer.of_request(1)
    assert 11 not in similar.item
    assert ring(similar.item[:4]) == [1] * 4
    assert ring(own.item[:3]) == [0] * 3


def test_a_batch_equals_its_requests_one_by_one(source: TwoTower) -> None:
    asked = requests([[0, 1], [], [13, 14, 15, 16, 17, 18, 19, 10], [38]], user=1)
    together = source(asked, 7)
    for row in range(4):
        alone = source(asked.take(row), 7)
        assert alone.item.tolist() == together.of_request(row).item.tolist()


def test_a_batch_larger_than_one_run_of_the_tower_is_cut_and_joined(source: TwoTower) -> None:
    histories = [[row % 40, following(row % 40)] for row in range(1030)]
    vectors = source.user_vectors(requests(histories))
    assert vectors.shape == (1030, CONFIG.embedding_size)
    assert vectors[1025:] == pytest.approx(source.user_vectors(requests(histories[1025:])), abs=1e-5)


def test_user_vectors_are_computed_once_a_requests_object(source: TwoTower, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    embed = source._embed_users
    monkeypatch.setattr(source, "_embed_users", lambda asked: runs.append(len(asked)) or embed(asked))
    asked = requests([[0, 1]])
    source.score(asked, source(asked, 5))
    assert runs == [1]
    changed = requests([[20, 21]])
    assert not np.allclose(source.user_vectors(changed), source.user_vectors(asked), atol=1e-2)
    assert runs == [1, 1]
    for _ in range(100):
        source(requests([[0]]), 1)
    assert len(source._users._kept) <= 16


def test_threads_get_their_own_answers(source: TwoTower) -> None:
    starts = (0, 11, 22, 33)
    alone = {start: source(requests([[start, following(start)]]), 5).item.tolist() for start in starts}
    assert len({tuple(items) for items in alone.values()}) == len(starts)
    wrong: list[object] = []

    def ask(start: int) -> None:
        for _ in range(40):
            found = source(requests([[start, following(start)]]), 5).item.tolist()
            if found != alone[start]:
                wrong.append((start, found))

    threads = [threading.Thread(target=ask, args=(start,)) for start in starts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_new_item_is_found_and_counts_as_history_at_once(source: TwoTower) -> None:
    new = ITEMS + 7
    grown = catalogue()
    more = Catalogue(
        published_at=np.zeros(new + 1, np.int64),
        duration=np.full(new + 1, 60, np.float32),
        author=np.append(grown.author, np.full(8, 2)).astype(np.int32),
        category=np.append(grown.category, np.full((8, 1), 2), axis=0).astype(np.int32),
        available=np.ones(new + 1, np.bool_),
        title=[*grown.title, *["ring c"] * 8],
    )
    rings = [f"ring {code}" for code in range(RINGS)]
    codes = np.array([new], np.int32)
    assert len(source(requests([[new]]), 5)) == 0
    source.upsert(codes, encode_items(more, rings, rings, source.vocabulary, codes))
    assert new in source(requests([[20, 21]]), ITEMS).item
    assert ring(source(requests([[new]]), 3).item) == [2] * 3
    source.remove(codes)
    assert new not in source(requests([[20, 21]]), ITEMS).item


def test_a_rebuilt_index_finds_the_same_and_what_came_meanwhile(
    source: TwoTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items added, changed and removed before and while the index is built; searches go on."""
    items, rings = catalogue(), [f"ring {ring}" for ring in range(RINGS)]
    content = encode_items(items, rings, rings, source.vocabulary)
    codes = np.arange(ITEMS, dtype=np.int32)
    source.upsert(codes[:5], content.take(slice(0, 5)))
    source.remove(codes[7:9])
    asked = requests([[0, 1, 2]], allow_watched=True)
    before = source(asked, ITEMS)
    assert source.space.sizes.dynamic == 5
    build = ItemIndex.build_of

    def meanwhile(*given: Any) -> ItemIndex:
        fresh = build(*given)
        source.remove(codes[10:11])
        source.upsert(codes[7:8], content.take(slice(7, 8)))
        found = source(asked, ITEMS).item.tolist()  # by the old index, with what has changed
        assert 7 in found
        assert 10 not in found
        return fresh

    monkeypatch.setattr(ItemIndex, "build_of", meanwhile)
    source.rebuild()
    assert source.space.sizes.static == ITEMS - 2
    after = source(asked, ITEMS)
    assert set(after.item.tolist()) == set(before.item.tolist()) - {10} | {7}
    assert source.space.recall(source.latest_queries(4), 10) == 1.0


def test_embedding_the_catalogue_again_gives_the_saved_vectors(source: TwoTower, saved: Path) -> None:
    rings = [f"ring {code}" for code in range(RINGS)]
    content = encode_items(catalogue(), rings, rings, Vocabulary.load(saved))
    assert source.embed_items(content) == pytest.approx(np.load(saved / "item_vectors.npy"), abs=1e-3)


def test_recent_items_are_the_last_positive_ones_without_repeats() -> None:
    asked = requests([[1, 1, 2, 3, 3, 4], [], [5]])
    preferred = np.where(asked.acted.item == 2, 0, 1).astype(np.float32) * (asked.acted.item >= 0)
    recent = recent_items(asked, preferred, 2)
    assert recent.item.tolist() == [[3, 4], [-1, -1], [-1, 5]]
    assert recent.weight.tolist() == [[2, 1], [0, 0], [0, 1]]
    assert recent.at[0].tolist() == [NOW - 2000 * HOUR, NOW - 1000 * HOUR]


@pytest.mark.parametrize("name", ["user_tower.onnx", "item_vectors.npy", "two_tower.json", "index.faiss"])
def test_a_damaged_file_is_an_artifact_error(saved: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    (tmp_path / "copy" / name).write_bytes(b"damaged")
    with pytest.raises(ArtifactError):
        load(tmp_path / "copy")


def test_files_of_different_models_are_refused(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    np.save(tmp_path / "copy" / "item_vectors.npy", np.ones((ITEMS, 4), np.float32))
    with pytest.raises(ArtifactError, match="do not belong together"):
        load(tmp_path / "copy")


def test_the_average_encoder_serves_too(tmp_path: Path) -> None:
    fit(CONFIG.model_copy(update={"encoder": "average"})).save(tmp_path, Silent())
    found = load(tmp_path)(requests([[0, 1, 2]]), 5)
    assert len(found) == 5


def test_recent_items_are_read_from_the_end_as_by_hand() -> None:
    rng = np.random.default_rng(5)
    asked = requests([rng.integers(0, 3, rng.integers(0, 12)).tolist() for _ in range(300)])
    preferred = (rng.integers(0, 3, asked.acted.item.shape) * (asked.acted.item >= 0)).astype(np.float32)
    size = 4
    recent = recent_items(asked, preferred, size)
    for row in range(len(asked)):
        runs: list[list[float]] = []
        for slot in np.flatnonzero(preferred[row]):
            item, weight = asked.acted.item[row, slot], preferred[row, slot]
            if runs and runs[-1][0] == item:
                runs[-1] = [item, runs[-1][1] + weight, asked.acted.at[row, slot]]
            else:
                runs.append([item, weight, asked.acted.at[row, slot]])
        expected = [[-1, 0, 0]] * (size - len(runs[-size:])) + runs[-size:]
        found = zip(recent.item[row], recent.weight[row], recent.at[row], strict=True)
        assert [list(entry) for entry in found] == expected
