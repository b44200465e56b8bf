"""Weights survive saving, follow a grown vocabulary, and say where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import rankers
from upnext.content import Vocabulary, grow_vocabulary, moved_rows
from upnext.errors import ArtifactError
from upnext.ids import IdMap
from upnext.training.item_encoder import ItemEncoder, content_tensors
from upnext.training.weights import WEIGHTS_FILE, Weights, save_weights


def grown(old: Vocabulary) -> Vocabulary:
    """Two more words, an author, and items between and behind those that were known."""
    more = Vocabulary(
        title=IdMap(["new", "words"]), category=IdMap(), author=IdMap(["bob"]), attribute=IdMap(), surface=IdMap(),
        items=np.array([26, 29], np.int32), users=np.array([2, 9], np.int32), vector_size=0,
    )  # fmt: skip
    return grow_vocabulary(old, more)


def test_a_network_goes_on_where_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = rankers.vocabulary()
    encoder = ItemEncoder(words, 16, 0.0).eval()
    save_weights(tmp_path, encoder=encoder)
    later = grown(words)
    again = ItemEncoder(later, 16, 0.0).eval()
    Weights.load(tmp_path, moved_rows(words, later)).into("encoder", again)
    content = rankers.content()  # its codes are those of before: names keep theirs
    with torch.no_grad():
        columns = content_tensors(content)
        np.testing.assert_array_equal(encoder(*columns).numpy(), again(*columns).numpy())
    assert len(again.id.weight) == rankers.SEEN + 2 + 1
    assert (again.id.weight[-2:] == 0).all()
    assert (again.title.weight[-2:] == 0).all()
    assert (again.title.weight[1:-2] != 0).all()


def test_rows_move_with_their_items(tmp_path: Path) -> None:
    words = rankers.vocabulary()
    every_second = Vocabulary(
        words.title, words.category, words.author, words.attribute, words.surface,
        np.arange(0, 20, 2, dtype=np.int32), words.users, 0,
    )  # fmt: skip
    encoder = ItemEncoder(every_second, 4, 0.0)
    save_weights(tmp_path, encoder=encoder)
    later = grow_vocabulary(every_second, words)
    again = ItemEncoder(later, 4, 0.0)
    Weights.load(tmp_path, moved_rows(every_second, later)).into("encoder", again)
    for place, item in enumerate(every_second.items.tolist(), 1):
        row = later.items.tolist().index(item) + 1
        assert torch.equal(again.id.weight[row], encoder.id.weight[place])
    assert (again.id.weight[later.items.tolist().index(3) + 1] == 0).all()


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    words = rankers.vocabulary()
    save_weights(tmp_path, encoder=ItemEncoder(words, 16, 0.0))
    weights = Weights.load(tmp_path, moved_rows(words, words))
    with pytest.raises(ArtifactError, match=r"encoder\.id\.weight is of shape \(25, 16\), but \(25, 8\) is needed"):
        weights.into("encoder", ItemEncoder(words, 8, 0.0))
    with pytest.raises(ArtifactError, match=r"tower\.id\.weight is missing"):
        weights.into("tower", ItemEncoder(words, 16, 0.0))
    other = ItemEncoder(grown(words), 16, 0.0)
    with pytest.raises(ArtifactError, match="Run `upnext train`, in full"):
        Weights.load(tmp_path, moved_rows(grown(words), grown(words))).into("encoder", other)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"{WEIGHTS_FILE}: no weights to go on from"):
        Weights.load(tmp_path, {})
    (tmp_path / WEIGHTS_FILE).write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ArtifactError, match=f"{WEIGHTS_FILE}: no weights to go on from"):
        Weights.load(tmp_path, {})


def test_nothing_that_could_run_code_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / WEIGHTS_FILE, harm=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match="no weights to go on from"):
        Weights.load(tmp_path, {})
