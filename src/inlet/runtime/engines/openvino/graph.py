"""Graphs for OpenVINO from the operations of `GraphMaker`. Called by `build/encoder`; compiles and runs nothing.

Weights are used as they lie in the mapped file. Every weight of a linear layer carries the layer's name, by which
`quantise` can spare it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from inlet.runtime.engines.base import Array
from inlet.runtime.engines.openvino._library import op, ov
from inlet.runtime.engines.openvino.model import OpenVinoModel

Node: TypeAlias = Any  # openvino's bindings are untyped: ov.Node or ov.Output

_MASKED = float(np.finfo(np.float32).min) / 2  # half, so that adding another bias cannot reach -inf


class OpenVinoGraph:
    """A `GraphMaker` whose nodes are openvino's."""

    def __init__(self) -> None:
        self._inputs: dict[str, Node] = {}

    def _input(self, name: str) -> Node:
        if name not in self._inputs:
            node = op.parameter([-1, -1], np.int64, name=name)
            node.output(0).set_names({name})
            self._inputs[name] = node
        return self._inputs[name]

    def ids(self) -> Node:
        return self._input("input_ids")

    def token_types(self) -> Node:
        return self._input("token_type_ids")

    def mask_bias(self) -> Node:
        mask = op.convert(self._input("attention_mask"), "f32")
        off = op.multiply(op.subtract(_scalar(1.0), mask), _scalar(_MASKED))
        return op.unsqueeze(off, _ints(1, 2))

    def lookup(self, table: Array, indices: Node) -> Node:
        return op.gather(_weights(table), indices, _int(0))

    def positions(self, ids: Node) -> Node:
        length = op.gather(op.shape_of(ids), _int(1), _int(0))
        return op.unsqueeze(op.range(_int(0), length, _int(1), "i64"), _ints(0))

    def add(self, a: Node, b: Node) -> Node:
        return op.add(a, b)

    def linear(self, x: Node, weight: Array, bias: Array, *, name: str) -> Node:
        constant = _weights(weight)
        constant.set_friendly_name(name)
        return op.add(op.matmul(x, constant, transpose_a=False, transpose_b=True), _weights(bias))

    def layer_norm(self, x: Node, weight: Array, bias: Array, eps: float) -> Node:
        normal = op.mvn(x, _ints(-1), normalize_variance=True, eps=eps, eps_mode="INSIDE_SQRT")
        return op.add(op.multiply(normal, _weights(weight)), _weights(bias))

    def activation(self, name: str, x: Node) -> Node:
        makers: dict[str, Callable[[Node], Node]] = {
            "gelu": lambda node: op.gelu(node, "ERF"),
            "gelu_new": lambda node: op.gelu(node, "TANH"),
            "gelu_pytorch_tanh": lambda node: op.gelu(node, "TANH"),
            "relu": op.relu,
            "tanh": op.tanh,
        }
        return makers[name](x)

    def attention(self, q: Node, k: Node, v: Node, heads: int, bias: Node) -> Node:
        def split(x: Node) -> Node:
            parted = op.reshape(x, _ints(0, 0, heads, -1), special_zero=True)
            return op.transpose(parted, _ints(0, 2, 1, 3))

        mixed = op.scaled_dot_product_attention(split(q), split(k), split(v), bias)
        return op.reshape(op.transpose(mixed, _ints(0, 2, 1, 3)), _ints(0, 0, -1), special_zero=True)

    def first_token(self, x: Node) -> Node:
        return op.gather(x, _int(0), _int(1))

    def model(self, output: Node) -> OpenVinoModel:
        """The graph that ends in `output`."""
        return OpenVinoModel(ov.Model([output], list(self._inputs.values()), "inlet"))


def _weights(array: Array) -> Node:
    # Shared: the constant is a view of the mapped file, so that fp32 weights are not copied.
    return op.constant(array, shared_memory=True)


def _int(value: int) -> Node:
    return op.constant(np.int64(value))


def _ints(*values: int) -> Node:
    return op.constant(np.array(values, dtype=np.int64))


def _scalar(value: float) -> Node:
    return op.constant(np.float32(value))
