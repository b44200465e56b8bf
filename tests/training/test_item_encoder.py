import numpy as np
import torch

from upnext.content import ItemContent, Vocabulary
from upnext.ids import IdMap
from upnext.training.item_encoder import ItemEncoder, content_tensors


def vocabulary(vector_size: int = 3) -> Vocabulary:
    return Vocabulary(
        title=IdMap(["red", "fox", "runs"]),
        category=IdMap(["news", "sport"]),
        author=IdMap(["ann"]),
        attribute=IdMap(),
        surface=IdMap([""]),
        items=np.arange(4, dtype=np.int32),
        users=np.arange(2, dtype=np.int32),
        vector_size=vector_size,
    )


def content(vector_size: int = 3) -> ItemContent:
    return ItemContent(
        id=np.array([1, 2, 0], np.int32),
        title=np.array([[1, 2, 0], [3, 0, 0], [0, 0, 0]], np.int32),
        category=np.array([[1, 2], [1, 0], [0, 0]], np.int32),
        author=np.array([1, 0, 0], np.int32),
        duration=np.array([5, 0, 0], np.int32),
        vector=np.arange(3 * vector_size, dtype=np.float32).reshape(3, vector_size),
        has_vector=np.array([1, 0, 0], np.float32),
    )


def encode(encoder: ItemEncoder, items: ItemContent) -> torch.Tensor:
    with torch.no_grad():
        return encoder(*content_tensors(items))


def test_every_field_matters_and_padding_does_not() -> None:
    torch.manual_seed(0)
    encoder = ItemEncoder(vocabulary(), 16, 0.0).eval()
    plain = encode(encoder, content())
    assert plain.shape == (3, 16)
    padded = content()
    padded.title[0] = [2, 0, 1]
    assert torch.allclose(encode(encoder, padded), plain, atol=1e-6)
    for name in ("id", "author", "duration", "vector", "has_vector"):
        changed = content()
        changed.columns()[name][0] = 0
        assert not torch.allclose(encode(encoder, changed)[0], plain[0], atol=1e-3), name


def test_a_vector_that_was_not_supplied_is_ignored() -> None:
    encoder = ItemEncoder(vocabulary(), 16, 0.0).eval()
    plain, other = encode(encoder, content()), content()
    other.vector[1:] = 99
    assert torch.equal(encode(encoder, other), plain)


def test_id_dropout_hides_the_id_in_training_only() -> None:
    encoder = ItemEncoder(vocabulary(), 16, 1.0)
    hidden = content()
    hidden.id[:] = 0
    assert torch.allclose(encode(encoder.train(), content()), encode(encoder.eval(), hidden), atol=1e-6)
    assert not torch.allclose(encode(encoder.eval(), content()), encode(encoder.eval(), hidden), atol=1e-3)


def test_id_dropout_hides_the_share_it_is_told() -> None:
    torch.manual_seed(0)
    encoder = ItemEncoder(vocabulary(), 16, 0.3).train()
    many = content().take(np.zeros(4000, np.int64))
    answers = encode(encoder, many)
    shown = encode(encoder.eval(), content())[0]
    share = float((answers - shown).abs().sum(1).gt(1e-4).float().mean())
    assert 0.27 < share < 0.33


def test_without_supplied_vectors_there_is_no_layer_for_them() -> None:
    encoder = ItemEncoder(vocabulary(0), 8, 0.0)
    assert encoder.vector is None
    assert encode(encoder, content(0)).shape == (3, 8)


def test_training_and_serving_average_words_alike() -> None:
    encoder = ItemEncoder(vocabulary(), 16, 0.0)
    assert torch.allclose(encode(encoder.train(), content()), encode(encoder.eval(), content()), atol=1e-6)
