"""PyTorch -> ONNX, checked: a file that answers differently from the network is never published."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from upnext.errors import ArtifactError

TOLERANCE = 1e-3


def export_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
    path: Path,
) -> None:
    """Write ``module`` (in eval mode, inputs in the order of its forward) as an ONNX file.

    ``dynamic[name][axis]`` names an axis whose size may differ from the example's. Raises ArtifactError when
    ONNX Runtime and PyTorch disagree by more than TOLERANCE on the example, or on the first row of it.
    """
    module.eval()
    with warnings.catch_warnings():
        # The pinned torch still ships the tracing exporter, which is 50 times faster than its successor
        # (0.1 s against 7 s) and needs no compiler; both sentences announce only its retirement.
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
            dynamo=False,
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    _check(module, session, inputs, path)
    _check(module, session, {name: _first(tensor, dynamic.get(name, {})) for name, tensor in inputs.items()}, path)


def _first(tensor: Tensor, dynamic: Mapping[int, str]) -> Tensor:
    return tensor[:1] if 0 in dynamic else tensor


def _check(module: nn.Module, session: onnxruntime.InferenceSession, inputs: Mapping[str, Tensor], path: Path) -> None:
    used = {entry.name for entry in session.get_inputs()}  # inputs that the network ignores are not in the file
    answers = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items() if name in used})
    with torch.no_grad():
        expected = module(*inputs.values())
    for answer, tensor in zip(answers, [expected] if isinstance(expected, Tensor) else expected, strict=True):
        difference = float(np.abs(answer - tensor.numpy()).max(initial=0))
        if not difference <= TOLERANCE:
            raise ArtifactError(
                f"{path}: ONNX Runtime and PyTorch differ by {difference:.2g} (allowed: {TOLERANCE}). The network "
                "uses an operation that does not export faithfully."
            )
