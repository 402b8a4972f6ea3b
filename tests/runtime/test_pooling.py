"""How token vectors become one: every mode against its definition, dense layers, and what the files may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inlet.core.errors import Refused
from inlet.runtime.pooling import Pooling, read_pooling
from tests.reference.checkpoint import save

ROW = np.array([[1.0, -2.0], [3.0, 4.0], [5.0, 1.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("cls", [1, -2]),
        ("max", [5, 4]),
        ("mean", [3, 1]),
        ("mean_sqrt_len_tokens", [9 / 3**0.5, 3 / 3**0.5]),
        ("weightedmean", [(1 + 6 + 15) / 6, (-2 + 8 + 3) / 6]),
        ("lasttoken", [5, 1]),
        ("cls+mean", [1, -2, 3, 1]),
    ],
)
def test_every_mode_is_its_definition(mode: str, expected: list[float]) -> None:
    pooling = Pooling(mode=mode)
    vector = pooling.pool(ROW)
    assert vector.tolist() == pytest.approx(expected)
    assert vector.dtype == np.float32
    assert not np.shares_memory(vector, ROW)
    assert pooling.width(2) == len(expected)


def written(folder: Path, pooling: dict[str, Any], *steps: str, **dense: Any) -> Path:
    modules = []
    for index, step in enumerate(steps):
        path = "" if index == 0 else f"{index}_{step}"
        modules.append({"idx": index, "path": path, "type": f"sentence_transformers.models.{step}"})
        (folder / path).mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if dense:
        (folder / "2_Dense" / "config.json").write_text(json.dumps(dense))
    return folder


WEIGHT = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, -1.0]], dtype=np.float32)
MEAN = {"pooling_mode_mean_tokens": True}


@pytest.mark.parametrize(
    ("activation", "function"),
    [("torch.nn.modules.activation.Tanh", np.tanh), ("torch.nn.modules.linear.Identity", lambda x: x)],
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_layer_follows(tmp_path: Path, activation: str, function: Any, bias: bool) -> None:
    folder = written(tmp_path, MEAN, "Transformer", "Pooling", "Dense", "Normalize", in_features=2, out_features=3,
                     bias=bias, activation_function=activation)  # fmt: skip
    offset = np.array([0.25, 0, 1], dtype=np.float32)
    save(folder / "2_Dense", {"linear.weight": WEIGHT, **({"linear.bias": offset} if bias else {})})
    pooling = read_pooling(folder)
    assert (pooling.mode, pooling.normalize, pooling.width(2)) == ("mean", True, 3)
    assert pooling.pool(ROW) == pytest.approx(function(WEIGHT @ [3, 1] + (offset if bias else 0)), abs=1e-6)


@pytest.mark.parametrize(
    ("dense", "problem"),
    [
        ({"in_features": 2, "out_features": "3"}, "2_Dense/config.json must say out_features"),
        ({"in_features": 2, "out_features": 4}, "linear.weight has shape"),
        (
            {"in_features": 2, "out_features": 3, "activation_function": "torch.nn.Mish"},
            "asks for Mish; supported",
        ),
    ],
)
def test_other_dense_layers_are_refused(tmp_path: Path, dense: dict[str, Any], problem: str) -> None:
    folder = written(tmp_path, MEAN, "Transformer", "Pooling", "Dense", **dense)
    save(folder / "2_Dense", {"linear.weight": WEIGHT})
    with pytest.raises(Refused, match=problem):
        read_pooling(folder)
