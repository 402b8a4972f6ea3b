"""Describes an encoder with its head to a `GraphMaker`: embeddings, layers, head. Knows no engine and no file format.

Called by `model` once per start. Every tensor of the checkpoint must be used or known to be without effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from inlet.core.errors import Refused
from inlet.runtime.build.config import EncoderShape
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import Array, GraphMaker

N = TypeVar("N")


class Head(StrEnum):
    """What comes out: hidden states [B, L, H], or logits per text [B, K], or logits per token [B, L, K]."""

    HIDDEN = "hidden"
    SEQUENCE = "sequence"
    TOKEN = "token"  # noqa: S105 - a kind of head


@dataclass(frozen=True, slots=True)
class _Names:
    """Finds tensors under the names of one checkpoint."""

    weights: Weights
    prefix: str

    def linear(self, name: str, out: int, into: int, *, prefixed: bool = True) -> tuple[Array, Array]:
        full = self.prefix + name if prefixed else name
        return self.weights.take(f"{full}.weight", (out, into)), self.weights.take(f"{full}.bias", (out,))

    def norm(self, name: str, size: int) -> tuple[Array, Array]:
        full = self.prefix + name
        # TensorFlow's names, kept by checkpoints that were converted from it.
        old = f"{full}.gamma" in self.weights
        ends = ("gamma", "beta") if old else ("weight", "bias")
        return self.weights.take(f"{full}.{ends[0]}", (size,)), self.weights.take(
            f"{full}.{ends[1]}", (size,)
        )

    def table(self, name: str, rows: int, size: int) -> Array:
        return self.weights.take(f"{self.prefix}{name}.weight", (rows, size))


def build(graph: GraphMaker[N], shape: EncoderShape, weights: Weights, head: Head) -> N:
    """The graph's output; `Refused` if anything in the checkpoint is missing, misshapen or not understood."""
    family = shape.family
    # Bare encoders save no prefix; told from the names, since `architectures` may say anything.
    prefix = family.prefix if f"{family.prefix}{family.word}.weight" in weights else ""
    output = _Builder(graph, shape, _Names(weights, prefix)).run(head)
    _refuse_unknown(weights, shape, prefix, head)
    return output


def label_count(shape: EncoderShape, weights: Weights) -> int:
    """How many labels the checkpoint's classifier has; 0 when it has no classifier."""
    return weights.rows(f"{shape.family.classifier}.weight")


def _refuse_unknown(weights: Weights, shape: EncoderShape, prefix: str, head: Head) -> None:
    family = shape.family
    harmless = {prefix + name for name in family.ignorable}
    # Asked for hidden states, a head is not our business; asked for a head, any other tensor is a riddle.
    skipped = family.other_heads if head is Head.HIDDEN else ()
    riddles = [name for name in weights.unused() if name not in harmless and not name.startswith(skipped)]
    if riddles:
        more = f" and {len(riddles) - 3} more" if len(riddles) > 3 else ""
        raise Refused(
            f"the weights have tensors that this architecture does not: {', '.join(riddles[:3])}{more}"
        )


class _Builder(Generic[N]):
    def __init__(self, graph: GraphMaker[N], shape: EncoderShape, names: _Names) -> None:
        self._graph, self._shape, self._names = graph, shape, names

    def run(self, head: Head) -> N:
        hidden, mask_bias = self._embeddings(), self._graph.mask_bias()
        for index in range(self._shape.layers):
            hidden = self._layer(self._shape.family.layer.format(index), hidden, mask_bias)
        if head is Head.HIDDEN:
            return hidden
        family, size = self._shape.family, self._shape.hidden
        if head is Head.SEQUENCE:
            first = self._graph.first_token(hidden)
            hidden = self._graph.activation("tanh", self._linear(first, family.pooler, size, size))
        count = label_count(self._shape, self._names.weights)
        weight, bias = self._names.linear(family.classifier, count, size, prefixed=False)
        return self._graph.linear(hidden, weight, bias, name="classifier")

    def _embeddings(self) -> N:
        graph, shape, names, family = self._graph, self._shape, self._names, self._shape.family
        ids = graph.ids()
        word = graph.lookup(names.table(family.word, shape.vocabulary, shape.hidden), ids)
        position = graph.lookup(
            names.table(family.position, shape.positions, shape.hidden), graph.positions(ids)
        )
        token_type = graph.lookup(
            names.table(family.token_type, shape.token_types, shape.hidden), graph.token_types()
        )
        return self._norm(graph.add(graph.add(word, token_type), position), family.embedding_norm)

    def _layer(self, layer: str, x: N, mask_bias: N) -> N:
        family, size, wide = self._shape.family, self._shape.hidden, self._shape.intermediate
        q, k, v = (
            self._linear(x, layer + name, size, size) for name in (family.query, family.key, family.value)
        )
        mixed = self._graph.attention(q, k, v, self._shape.heads, mask_bias)
        attended = self._graph.add(self._linear(mixed, layer + family.attention_out, size, size), x)
        x = self._norm(attended, layer + family.attention_norm)
        up = self._graph.activation(self._shape.activation, self._linear(x, layer + family.up, wide, size))
        down = self._graph.add(self._linear(up, layer + family.down, size, wide), x)
        return self._norm(down, layer + family.output_norm)

    def _linear(self, x: N, name: str, out: int, into: int) -> N:
        return self._graph.linear(x, *self._names.linear(name, out, into), name=name)

    def _norm(self, x: N, name: str) -> N:
        return self._graph.layer_norm(x, *self._names.norm(name, self._shape.hidden), self._shape.eps)
