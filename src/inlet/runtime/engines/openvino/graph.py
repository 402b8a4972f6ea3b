"""Graphs for OpenVINO from the operations of `GraphMaker`. Called by `build/encoder`; compiles and runs nothing.

Weights are used as they lie in the mapped file.
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
        self._constants: dict[int, tuple[Array, Node]] = {}

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

    def constant(self, values: Array) -> Node:
        # Told by identity, which is safe while the array is kept here.
        if id(values) not in self._constants:
            # Shared: the constant is a view of the mapped file, so that fp32 weights are not copied.
            self._constants[id(values)] = values, op.constant(values, shared_memory=True)
        return self._constants[id(values)][1]

    def lookup(self, table: Array, indices: Node) -> Node:
        return op.gather(self.constant(table), indices, _int(0))

    def positions(self, ids: Node) -> Node:
        return op.unsqueeze(_range(_length(ids)), _ints(0))

    def positions_from_pad(self, ids: Node, pad: int) -> Node:
        real = op.convert(op.not_equal(ids, _int(pad)), "i64")
        return op.add(op.multiply(op.cum_sum(real, _int(1)), real), _int(pad))

    def distance_bias(self, ids: Node, table: Array) -> Node:
        place = _range(_length(ids))
        ahead = op.subtract(op.unsqueeze(place, _ints(0)), op.unsqueeze(place, _ints(1)))
        columns = op.add(ahead, _int(table.shape[1] // 2))
        return op.unsqueeze(op.gather(self.constant(table), columns, _int(1)), _ints(0))

    def distance_scores(self, x: Node, table: Array, rows: Array, heads: int) -> Node:
        length, reach = op.unsqueeze(_length(x), _ints(0)), _ints(len(rows) // 2)
        # Of the table only the 2 L rows that this length can ask for: [A, 2 L, H / A] against [B, A, L, H / A].
        near = op.slice(self.constant(rows), op.subtract(reach, length), op.add(reach, length), _ints(1))
        others = _split(op.unsqueeze(op.gather(self.constant(table), near, _int(0)), _ints(0)), heads)
        scores = op.matmul(_split(x, heads), others, transpose_a=False, transpose_b=True)
        # Token i finds token j in column L - 1 + j - i. Read in one line without its first L - 1 numbers, and cut into
        # lines that are shorter by one, the columns are the tokens.
        wide = op.subtract(op.multiply(length, _ints(2)), _ints(1))
        line = op.reshape(scores, _ints(0, 0, -1), special_zero=True)
        begin = op.subtract(length, _ints(1))
        line = op.slice(line, begin, op.add(begin, op.multiply(length, wide)), _ints(1), _ints(2))
        lines = op.reshape(line, op.concat([_ints(0, 0), length, wide], 0), special_zero=True)
        return op.slice(lines, _ints(0), length, _ints(1), _ints(3))

    def transpose(self, x: Node) -> Node:
        return op.transpose(x, _ints(0, 1, 3, 2))

    def add(self, a: Node, b: Node) -> Node:
        return op.add(a, b)

    def linear(self, x: Node, weight: Array, bias: Array) -> Node:
        product = op.matmul(x, self.constant(weight), transpose_a=False, transpose_b=True)
        return op.add(product, self.constant(bias))

    def layer_norm(self, x: Node, weight: Array, bias: Array, eps: float) -> Node:
        normal = op.mvn(x, _ints(-1), normalize_variance=True, eps=eps, eps_mode="INSIDE_SQRT")
        return op.add(op.multiply(normal, self.constant(weight)), self.constant(bias))

    def activation(self, name: str, x: Node) -> Node:
        makers: dict[str, Callable[[Node], Node]] = {
            "gelu": lambda node: op.gelu(node, "ERF"),
            "gelu_new": lambda node: op.gelu(node, "TANH"),
            "gelu_pytorch_tanh": lambda node: op.gelu(node, "TANH"),
            "relu": op.relu,
            "tanh": op.tanh,
        }
        return makers[name](x)

    def attention(self, q: Node, k: Node, v: Node, heads: int, bias: Node, *, scale: float) -> Node:
        split = (_split(x, heads) for x in (q, k, v))
        mixed = op.scaled_dot_product_attention(*split, bias, _scalar(scale))
        return op.reshape(op.transpose(mixed, _ints(0, 2, 1, 3)), _ints(0, 0, -1), special_zero=True)

    def first_token(self, x: Node) -> Node:
        return op.gather(x, _int(0), _int(1))

    def model(self, output: Node) -> OpenVinoModel:
        """The graph that ends in `output`."""
        return OpenVinoModel(ov.Model([output], list(self._inputs.values()), "inlet"))


def _split(x: Node, heads: int) -> Node:
    """[B, L, H] to [B, A, L, H / A]."""
    parted = op.reshape(x, _ints(0, 0, heads, -1), special_zero=True)
    return op.transpose(parted, _ints(0, 2, 1, 3))


def _length(x: Node) -> Node:
    """L of [B, L, …], a scalar."""
    return op.gather(op.shape_of(x), _int(1), _int(0))


def _range(end: Node) -> Node:
    return op.range(_int(0), end, _int(1), "i64")


def _int(value: int) -> Node:
    return op.constant(np.int64(value))


def _ints(*values: int) -> Node:
    return op.constant(np.array(values, dtype=np.int64))


def _scalar(value: float) -> Node:
    return op.constant(np.float32(value))
