"""Weights to int8: one scale per row, symmetric, no calibration. Called by `model`; changes the graph that it is given.

Each float weight of a matrix product becomes int8 → Convert → Multiply(scale), which the CPU plugin computes as int8,
with activations quantised on the fly in groups (`Variant.group`). Tables that are looked up become int8 the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inlet.runtime.engines.base import Array
from inlet.runtime.engines.openvino._library import op

# Numbers in a weight below which it costs nothing as it is.
_SMALLEST = {"MatMul": 4096, "Gather": 1_000_000}


def quantise(model: Any) -> None:
    """In place. A weight that several products share stays one."""
    made: dict[tuple[str, int], Any] = {}
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in _SMALLEST:
            continue
        place = 1 if kind == "MatMul" else 0
        constant = node.input_value(place).get_node()
        if not _is_float_table(constant) or np.prod(constant.shape) < _SMALLEST[kind]:
            continue
        across = 0 if kind == "MatMul" and not node.get_attributes()["transpose_b"] else 1
        key = constant.get_name(), across  # unique, unlike the friendly one
        if key not in made:
            made[key] = _scaled(*rows_to_int8(constant.data, across))
        node.input(place).replace_source_output(made[key])


def _scaled(values: Array, scale: Array) -> Any:
    return op.multiply(op.convert(op.constant(values), "f32"), op.constant(scale)).output(0)


def _is_float_table(node: Any) -> bool:
    return (
        node.get_type_name() == "Constant"
        and node.get_element_type().get_type_name() == "f32"
        and len(node.shape) == 2
    )


def rows_to_int8(weights: Array, axis: int) -> tuple[Array, Array]:
    """int8 values and their float32 scales: `values * scales` is near `weights`. `axis` is the one a scale spans."""
    largest = np.abs(weights).max(axis=axis, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(weights / scale).astype(np.int8), scale
