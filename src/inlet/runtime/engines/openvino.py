"""OpenVINO on the CPU: makes graphs for `build/` and runs them. The only module that imports openvino.

fp32 throughout: weights are used as they lie in the mapped file, and the plugin is told not to lower the precision.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

# openvino imports its model converter, and telemetry with it, if it is there. Neither is of use here, and they are a
# third of the import's time: an entry of None makes that (guarded) import fail.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]  # None is what Python documents for this

import openvino as ov  # noqa: E402
from openvino import opset15 as op  # noqa: E402

from inlet.runtime.engines.base import Array, FloatArray, IntArray  # noqa: E402

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

    def linear(self, x: Node, weight: Array, bias: Array) -> Node:
        return op.add(op.matmul(x, _weights(weight), transpose_a=False, transpose_b=True), _weights(bias))

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

    def compile(self, output: Node, *, threads: int) -> OpenVinoEngine:
        """Compile the graph that ends in `output` for `threads` threads."""
        model = ov.Model([output], list(self._inputs.values()), "inlet")
        return OpenVinoEngine(model, tuple(self._inputs), threads)


class OpenVinoEngine:
    """One compiled model with one lane that uses every thread."""

    name = "openvino"
    precision = "fp32"

    def __init__(self, model: Any, inputs: tuple[str, ...], threads: int) -> None:
        self.threads = threads
        self._model = ov.Core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": "1",
                "INFERENCE_NUM_THREADS": str(threads),
                "ENABLE_CPU_PINNING": "NO",  # several replicas share the machine: the scheduler knows better
            },
        )
        self._lane = _Lane(self._model.create_infer_request(), inputs)

    def lanes(self) -> Sequence[_Lane]:
        return (self._lane,)


class _Lane:
    def __init__(self, request: Any, inputs: tuple[str, ...]) -> None:
        self._request = request
        self._inputs = inputs

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> FloatArray:
        values = {"input_ids": ids, "token_type_ids": token_types, "attention_mask": mask}
        feed = {name: values[name] for name in self._inputs}
        try:
            # Never cancelled from outside: the plugin then keeps the shapes of nodes that did not run, and later
            # inferences fail or mix them up.
            self._request.infer(feed, share_inputs=True)
        except RuntimeError as error:
            raise _translate(error) from error
        result: FloatArray = self._request.get_output_tensor(0).data
        return result


def _translate(error: RuntimeError) -> Exception:
    text = str(error)
    if "alloc" in text:  # "bad_alloc", "Failed to allocate", "can't alloc": all there is to tell it by
        return MemoryError(text)
    return error


def _weights(array: Array) -> Node:
    # Shared: the constant is a view of the mapped file, so that fp32 weights are not copied.
    return op.constant(array, shared_memory=True)


def _int(value: int) -> Node:
    return op.constant(np.int64(value))


def _ints(*values: int) -> Node:
    return op.constant(np.array(values, dtype=np.int64))


def _scalar(value: float) -> Node:
    return op.constant(np.float32(value))
