from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from upnext.content import ATTRIBUTES
from upnext.errors import ArtifactError
from upnext.training.export import export_onnx
from upnext.training.item_encoder import ItemEncoder, content_tensors
from upnext.training.serving_tower import ServingUserTower
from upnext.training.user_tower import UserTower

from .test_item_encoder import content, vocabulary


def answers(path: Path, inputs: dict[str, Tensor]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    used = {entry.name for entry in session.get_inputs()}
    return session.run(None, {name: tensor.numpy() for name, tensor in inputs.items() if name in used})


@pytest.mark.parametrize("vector_size", [0, 3])
def test_an_item_encoder_answers_the_same_for_any_batch(tmp_path: Path, vector_size: int) -> None:
    encoder = ItemEncoder(vocabulary(vector_size), 16, 0.5)
    items = content(vector_size)
    inputs = dict(zip(items.columns(), content_tensors(items), strict=True))
    export_onnx(encoder, inputs, ["item"], {name: {0: "items"} for name in inputs}, tmp_path / "item.onnx")
    many = items.take(np.array([2, 0, 1, 1, 0], np.int64))
    inputs = dict(zip(many.columns(), content_tensors(many), strict=True))
    with torch.no_grad():
        expected = encoder(*inputs.values()).numpy()
    assert np.abs(answers(tmp_path / "item.onnx", inputs)[0] - expected).max() < 1e-4


@pytest.mark.parametrize("encoder", ["average", "transformer"])
def test_a_user_tower_answers_the_same_for_any_batch_and_any_history(tmp_path: Path, encoder: str) -> None:
    torch.manual_seed(1)
    tower = ServingUserTower(UserTower(vocabulary(), 16, 6, encoder, 0.2, 0.5))
    day = 86_400_000

    def request(batch: int) -> dict[str, Tensor]:
        filled = torch.arange(6)[None, :] >= torch.randint(0, 7, (batch, 1))  # some histories are empty
        return {
            "user": torch.randint(0, 3, (batch,), dtype=torch.int32),
            "vectors": torch.randn(batch, 6, 16) * filled.unsqueeze(-1),
            "weight": torch.rand(batch, 6) * filled,
            "at": torch.randint(0, 400 * day, (batch, 6)),
            "now": torch.randint(400 * day, 20_000 * day, (batch,)),
            "attributes": torch.zeros(batch, ATTRIBUTES, dtype=torch.int32),
            "surface": torch.randint(0, 2, (batch,), dtype=torch.int32),
        }

    example = request(2)
    export_onnx(tower, example, ["user_vector"], {name: {0: "requests"} for name in example}, tmp_path / "user.onnx")
    for batch in (1, 3, 64):
        inputs = request(batch)
        with torch.no_grad():
            expected = tower(*inputs.values()).numpy()
        assert np.abs(answers(tmp_path / "user.onnx", inputs)[0] - expected).max() < 1e-4


def test_several_outputs_keep_their_names_and_order(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x + 1, x * 2

    export_onnx(Two(), {"x": torch.ones(2, 3)}, ["more", "twice"], {"x": {0: "rows"}}, tmp_path / "two.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "two.onnx"), providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_outputs()] == ["more", "twice"]
    assert session.run(["twice"], {"x": np.full((5, 3), 4, np.float32)})[0].tolist() == [[8, 8, 8]] * 5


def test_a_network_that_exports_wrongly_is_refused(tmp_path: Path) -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1  # tracing freezes what is not a tensor
            return x * self.calls

    with pytest.raises(ArtifactError, match=r"differ by .* does not export faithfully"):
        export_onnx(Counting(), {"x": torch.ones(2, 3)}, ["y"], {"x": {0: "rows"}}, tmp_path / "bad.onnx")
