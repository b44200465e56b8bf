import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.candidates.index import COARSER, ItemIndex, layout
from upnext.errors import ArtifactError
from upnext.vectors import Vectors


def unit(rng: np.random.Generator, n: int, size: int = 16) -> np.ndarray:
    vectors = rng.standard_normal((n, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute(codes: np.ndarray, vectors: np.ndarray, queries: np.ndarray, k: int) -> list[list[int]]:
    scores = queries @ vectors.T
    return [codes[np.lexsort((codes, -row))[:k]].tolist() for row in scores]


def test_a_small_index_is_exact() -> None:
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng, 500), unit(rng, 7)
    codes = rng.permutation(1000)[:500].astype(np.int32)
    items, scores = ItemIndex.build(codes, vectors).search(queries, 20)
    assert items.tolist() == brute(codes, vectors, queries, 20)
    assert items.dtype == np.int32
    assert scores.dtype == np.float32
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_large_index_finds_nearly_all_and_respects_changes() -> None:
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((40, 16))
    vectors = (centres[rng.integers(0, 40, 6000)] + 0.5 * rng.standard_normal((6000, 16))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codes = np.arange(6000, dtype=np.int32)
    index = ItemIndex.build(codes, vectors, exact_below=1000)
    queries = vectors[:50]
    found, expected = index.search(queries, 50)[0], brute(codes, vectors, queries, 50)
    shares = [len(set(row) & set(best)) / 50 for row, best in zip(found.tolist(), expected, strict=True)]
    assert np.mean(shares) > 0.95
    index.remove(codes[:50])
    assert not np.isin(index.search(queries, 50)[0], codes[:50]).any()


def test_as_many_cells_are_searched_as_its_queries_need() -> None:
    rng = np.random.default_rng(2)
    vectors, asking = unit(rng, 30_000), unit(rng, 50)  # in no clusters at all
    codes = np.arange(30_000, dtype=np.int32)

    def recall(index: ItemIndex) -> float:
        found, best = index.search(asking, 1000)[0], ItemIndex.build(codes, vectors).search(asking, 1000)[0]
        return float(np.mean([np.isin(mine, all_).mean() for mine, all_ in zip(found, best, strict=True)]))

    least = layout(30_000, 1000)[1]
    assert recall(ItemIndex.build(codes, vectors, 1000, asking)) > 0.97
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("upnext.candidates.index.ENOUGH", 0.0)
        few = ItemIndex.build(codes, vectors, 1000, asking)
    assert recall(few) < 0.9, f"{least} cells would have been enough"


def test_an_index_that_is_not_to_last_has_fewer_cells_and_finds_as_much() -> None:
    rng = np.random.default_rng(3)
    stored, asking = Vectors(unit(rng, 20_000)), unit(rng, 20)
    codes = np.arange(20_000, dtype=np.int32)
    lasting, brief, exact = (
        ItemIndex.build_of(codes, stored, exact_below=limit, asking=asking, lasting=lasts)
        for limit, lasts in ((1000, True), (1000, False), (100_000, True))
    )
    assert brief.cells == lasting.cells // COARSER
    assert exact.cells == 0
    best = exact.search(asking, 500)[0]
    for index in (lasting, brief):
        found = index.search(asking, 500)[0]
        assert np.mean([np.isin(mine, all_).mean() for mine, all_ in zip(found, best, strict=True)]) > 0.97


def test_what_cells_find_is_compared_by_the_vectors_themselves(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    vectors, asking = unit(rng, 20_000), unit(rng, 30)
    stored, codes = Vectors(vectors), np.arange(0, 40_000, 2, dtype=np.int32)
    by_code = Vectors(np.repeat(vectors, 2, axis=0))
    index = ItemIndex.build_of(codes, by_code, exact_below=1000, asking=asking)
    index.save(tmp_path)
    exactly = ItemIndex.build_of(codes, by_code, exact_below=100_000).search(asking, 500)[0]

    def recall(index: ItemIndex) -> float:
        found = index.search(asking, 500)[0]
        return float(np.mean([np.isin(mine, all_).mean() for mine, all_ in zip(found, exactly, strict=True)]))

    for compared in (index, ItemIndex.load(tmp_path, by_code)):
        items, scores = compared.search(asking, 500)
        products = np.einsum("qkd,qd->qk", stored[items // 2], asking)
        assert np.allclose(scores, products, atol=1e-6)
        assert (np.diff(scores, axis=1) <= 0).all()
    assert recall(index) == recall(compared) > recall(ItemIndex.load(tmp_path))


def test_equal_scores_are_ordered_by_code_in_all_parts() -> None:
    same = np.ones((4, 8), np.float32)
    index = ItemIndex.build(np.array([9, 2, 7, 4], np.int32), same)
    index.add(np.array([3, 8], np.int32), same[:2])
    assert index.search(same[:1], 6)[0].tolist() == [[2, 3, 4, 7, 8, 9]]


def test_too_few_items_are_padded() -> None:
    index = ItemIndex.build(np.array([5], np.int32), np.ones((1, 8), np.float32))
    items, scores = index.search(np.ones((2, 8), np.float32), 3)
    assert items.tolist() == [[5, -1, -1]] * 2
    assert np.isneginf(scores[:, 1:]).all()


def test_an_empty_index_grows() -> None:
    index = ItemIndex.build(np.empty(0, np.int32), np.empty((0, 8), np.float32))
    assert index.search(np.ones((1, 8), np.float32), 2)[0].tolist() == [[-1, -1]]
    index.add(np.array([3], np.int32), np.ones((1, 8), np.float32))
    assert index.search(np.ones((1, 8), np.float32), 2)[0].tolist() == [[3, -1]]
    assert len(index) == 1


CHANGES = st.lists(
    st.tuples(st.booleans(), st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(0, 99)), max_size=8
)


@settings(max_examples=60)
@given(CHANGES)
def test_after_any_changes_it_finds_what_a_dictionary_holds(changes: list[tuple[bool, list[int], int]]) -> None:
    rng = np.random.default_rng(3)
    codes, vectors = np.arange(0, 8, dtype=np.int32), unit(rng, 8)
    index = ItemIndex.build(codes, vectors)
    truth = dict(zip(codes.tolist(), vectors, strict=True))
    for adds, items, seed in changes:
        if adds:
            new = unit(np.random.default_rng(seed), len(items))
            index.add(np.array(items, np.int32), new)
            truth.update(zip(items, new, strict=True))
        else:
            index.remove(np.array(items, np.int32))
            truth = {code: vector for code, vector in truth.items() if code not in items}
    assert len(index) == len(truth)
    query = unit(rng, 1)
    items, scores = index.search(query, 15)
    found = dict(zip(items[0].tolist(), scores[0].tolist(), strict=True))
    found.pop(-1, None)
    assert found == pytest.approx({code: float(query[0] @ vector) for code, vector in truth.items()}, abs=1e-5)


def test_searches_beside_changes_see_old_or_new_but_never_broken_states() -> None:
    rng = np.random.default_rng(4)
    vectors = unit(rng, 300)
    index = ItemIndex.build(np.arange(300, dtype=np.int32), vectors)
    broken: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                items = index.search(vectors[:4], 50)[0]
                if any(len(set(row)) != 50 for row in items.tolist()):
                    broken.append(items)
            except Exception as error:
                broken.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(150):
        codes = np.arange(turn, turn + 20, dtype=np.int32)
        index.add(codes, vectors[codes])
        index.remove(codes[:2] + 100)
    stop.set()
    for reader in readers:
        reader.join()
    assert not broken


def test_saving_keeps_the_answers(tmp_path) -> None:
    rng = np.random.default_rng(5)
    vectors, queries = unit(rng, 3000), unit(rng, 5)
    for exact_below in (10_000, 1000):
        index = ItemIndex.build(np.arange(3000, dtype=np.int32), vectors, exact_below)
        index.save(tmp_path)
        again = ItemIndex.load(tmp_path)
        assert again.search(queries, 30)[0].tolist() == index.search(queries, 30)[0].tolist()


def test_damaged_files_are_artifact_errors(tmp_path) -> None:
    with pytest.raises(ArtifactError, match="no readable item index"):
        ItemIndex.load(tmp_path)
    ItemIndex.build(np.arange(3, dtype=np.int32), np.ones((3, 4), np.float32)).save(tmp_path)
    np.save(tmp_path / "index_codes.npy", np.arange(2, dtype=np.int32))
    with pytest.raises(ArtifactError, match="3 rows but 2 codes"):
        ItemIndex.load(tmp_path)
    np.save(tmp_path / "index_codes.npy", np.array([0, 2, 1], np.int32))
    with pytest.raises(ArtifactError, match="do not rise"):
        ItemIndex.load(tmp_path)
