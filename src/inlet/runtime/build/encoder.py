"""Describes an encoder with its head to a `GraphMaker`: embeddings, layers, head. Knows no engine and no file format.

Called by `model` once per start. Every tensor of the checkpoint must be used or known to be without effect.
"""

from __future__ import annotations

from enum import StrEnum
from functools import reduce
from typing import Generic, TypeVar

import numpy as np

from inlet.core.errors import Refused
from inlet.runtime.build.config import EncoderShape
from inlet.runtime.build.decoder import bias_names
from inlet.runtime.build.distances import BIAS_ROWS, Disentangled, biases
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import Array, GraphMaker

N = TypeVar("N")

_TOKEN_CLASSIFIER = "classifier"  # noqa: S105 - of every family
_ANSWERS = "qa_outputs"  # of every family: scores for a beginning and for an end


class Head(StrEnum):
    """What comes out: hidden states [B, L, H], or logits per text [B, K], or logits per token [B, L, K].

    For answers two logits per token, of their first and of their last one: [B, L, 2]. For masks, what `build/decoder` makes
    scores of: [B, L, E]; scores of every word for every token would be a hundred megabytes a text.
    """

    HIDDEN = "hidden"
    SEQUENCE = "sequence"
    TOKEN = "token"  # noqa: S105 - a kind of head
    ANSWER = "answer"
    MASKED = "masked"


def build(graph: GraphMaker[N], shape: EncoderShape, weights: Weights, head: Head) -> N:
    """The graph's output; `Refused` if anything in the checkpoint is missing, misshapen or not understood."""
    family = shape.family
    # Bare encoders save no prefix; told from the names, since `architectures` may say anything.
    prefix = family.prefix if f"{family.prefix}{family.word}.weight" in weights else ""
    output = _Builder(graph, shape, _Tensors(weights), prefix).run(head)
    _refuse_unknown(weights, shape, prefix, head)
    return output


def label_count(shape: EncoderShape, weights: Weights) -> int:
    """How many labels the checkpoint's classifier has; 0 when it has no classifier."""
    counts = (weights.rows(f"{name}.weight") for name in (shape.family.classifier, _TOKEN_CLASSIFIER))
    return next((count for count in counts if count), 0)


def has_answers(weights: Weights) -> bool:
    """Whether the checkpoint has a head for questions."""
    return weights.rows(f"{_ANSWERS}.weight") == 2


def _refuse_unknown(weights: Weights, shape: EncoderShape, prefix: str, head: Head) -> None:
    family = shape.family
    harmless = {prefix + name for name in family.ignorable}
    # Asked for hidden states, a head is not our business; asked for a head, any other tensor is a riddle.
    skipped = family.other_heads if head is Head.HIDDEN else ()
    if head is Head.MASKED:
        skipped = (*family.masked.beside, *bias_names(family.masked), f"{family.masked.decoder}.weight")
    riddles = [name for name in weights.unused() if name not in harmless and not name.startswith(skipped)]
    if riddles:
        more = f" and {len(riddles) - 3} more" if len(riddles) > 3 else ""
        raise Refused(
            f"the weights have tensors that this architecture does not: {', '.join(riddles[:3])}{more}"
        )


class _Tensors:
    """The checkpoint's tensors, each read once: layers that share weights then share one constant of the graph."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._taken: dict[str, Array] = {}

    def linear(self, name: str, out: int, into: int) -> tuple[Array, Array]:
        return self._take(f"{name}.weight", out, into), self._take(f"{name}.bias", out)

    def norm(self, name: str, size: int) -> tuple[Array, Array]:
        # TensorFlow's names, kept by checkpoints that were converted from it.
        old = f"{name}.gamma" in self._weights
        ends = ("gamma", "beta") if old else ("weight", "bias")
        return self._take(f"{name}.{ends[0]}", size), self._take(f"{name}.{ends[1]}", size)

    def table(self, name: str, rows: int, size: int) -> Array:
        return self._take(f"{name}.weight", rows, size)

    def rows(self, name: str) -> int:
        return self._weights.rows(f"{name}.weight")

    def _take(self, name: str, *shape: int) -> Array:
        if name not in self._taken:
            self._taken[name] = self._weights.take(name, shape)
        return self._taken[name]


class _Builder(Generic[N]):
    def __init__(self, graph: GraphMaker[N], shape: EncoderShape, tensors: _Tensors, prefix: str) -> None:
        self._graph, self._shape, self._tensors, self._prefix = graph, shape, tensors, prefix
        self._family = shape.family

    def run(self, head: Head) -> N:
        ids = self._graph.ids()
        hidden, bias = self._embeddings(ids), self._bias(ids)
        for layer in self._shape.layer_names():
            hidden = self._layer(self._prefix + layer, hidden, bias)
        return hidden if head is Head.HIDDEN else self._logits(hidden, head)

    def _embeddings(self, ids: N) -> N:
        graph, shape, family = self._graph, self._shape, self._family
        x = graph.lookup(self._table(family.word, shape.vocabulary), ids)
        if shape.token_types == 1:  # nothing to choose, whatever the tokenizer says
            x = graph.add(x, graph.constant(self._table(family.token_type, 1)))
        elif shape.token_types:
            table = self._table(family.token_type, shape.token_types)
            x = graph.add(x, graph.lookup(table, graph.token_types()))
        if shape.position_rows:
            table = self._table(family.position, shape.position_rows)
            x = graph.add(x, graph.lookup(table, self._positions(ids)))
        x = self._norm(x, self._prefix + family.embedding_norm, shape.embedding)
        if family.projection and (family.projects_always or shape.embedding != shape.hidden):
            x = self._linear(x, self._prefix + family.projection, shape.hidden, shape.embedding)
        return x

    def _positions(self, ids: N) -> N:
        if self._family.counts_from_pad:
            return self._graph.positions_from_pad(ids, self._shape.pad_id)
        return self._graph.positions(ids)

    def _bias(self, ids: N) -> N:
        """What every layer adds to its scores: the mask, and what the distance of two tokens is worth by itself."""
        mask = self._graph.mask_bias()
        if self._family.distance_bias is None:
            return mask
        table = self._tensors.table(self._prefix + self._family.distance_bias, BIAS_ROWS, self._shape.heads)
        return self._graph.add(mask, self._graph.distance_bias(ids, biases(table, self._shape.positions)))

    def _layer(self, layer: str, x: N, bias: N) -> N:
        graph, family, shape = self._graph, self._family, self._shape
        size, wide = shape.hidden, shape.intermediate
        q, k, v = (
            self._linear(x, layer + name, size, size) for name in (family.query, family.key, family.value)
        )
        if shape.disentangled:
            bias = graph.add(bias, self._distance_scores(shape.disentangled, layer, q, k))
        mixed = graph.attention(q, k, v, shape.heads, bias, scale=shape.scale)
        attended = graph.add(self._linear(mixed, layer + family.attention_out, size, size), x)
        x = self._norm(attended, layer + family.attention_norm, size)
        up = graph.activation(shape.activation, self._linear(x, layer + family.up, wide, size))
        down = graph.add(self._linear(up, layer + family.down, size, wide), x)
        return self._norm(down, layer + family.output_norm, size)

    def _distance_scores(self, kind: Disentangled, layer: str, q: N, k: N) -> N:
        """Contents against distances: a query's against what keys would say of them, a key's against queries."""
        graph, family, shape = self._graph, self._family, self._shape
        as_key = layer + (family.key if kind.shared else family.distance_key)
        as_query = layer + (family.query if kind.shared else family.distance_query)
        scores = []
        if kind.of_queries:
            rows = kind.query_rows(shape.positions)
            scores.append(graph.distance_scores(q, self._distances(kind, as_key), rows, shape.heads))
        if kind.of_keys:
            rows = kind.key_rows(shape.positions)
            of_keys = graph.distance_scores(k, self._distances(kind, as_query), rows, shape.heads)
            scores.append(graph.transpose(of_keys))
        return reduce(graph.add, scores)

    def _distances(self, kind: Disentangled, projection: str) -> Array:
        """The table of distances, projected and scaled: [2 * span, H]. The same for every text, so not in the graph."""
        size, encoder = self._shape.hidden, f"{self._prefix}encoder."
        table = self._tensors.table(encoder + "rel_embeddings", 2 * kind.span, size)
        if kind.normed:
            weight, bias = self._tensors.norm(encoder + "LayerNorm", size)
            deviation = table - table.mean(axis=1, keepdims=True)
            variance = (deviation**2).mean(axis=1, keepdims=True)
            table = deviation / np.sqrt(variance + self._shape.eps) * weight + bias
        weight, bias = self._tensors.linear(projection, size, size)
        return np.asarray((table @ weight.T + bias) * self._shape.scale, dtype=np.float32)

    def _logits(self, hidden: N, head: Head) -> N:
        family, size, name = self._family, self._shape.hidden, _TOKEN_CLASSIFIER
        if head is Head.MASKED:
            return self._for_decoder(hidden)
        if head is Head.ANSWER:
            return self._linear(hidden, _ANSWERS, 2, size)
        if head is Head.TOKEN:
            return self._linear(hidden, name, self._tensors.rows(name), size)
        # For every token, of which one is used: some 1 % more work. With a row per text engines take other kernels for one
        # text than for several, which sum in another order; with a row per token they do not, as in every other layer.
        pooled = self._linear(hidden, family.pooled, size, size)
        pooled, name = self._graph.activation(self._shape.pooled_activation, pooled), family.classifier
        return self._graph.first_token(self._linear(pooled, name, self._tensors.rows(name), size))

    def _for_decoder(self, hidden: N) -> N:
        shape, masked = self._shape, self._family.masked
        x = self._linear(hidden, masked.dense, shape.embedding, shape.hidden)
        x = self._graph.activation(masked.activation or shape.activation, x)
        return self._norm(x, masked.norm, shape.embedding)

    def _linear(self, x: N, name: str, out: int, into: int) -> N:
        return self._graph.linear(x, *self._tensors.linear(name, out, into))

    def _norm(self, x: N, name: str, size: int) -> N:
        return self._graph.layer_norm(x, *self._tensors.norm(name, size), self._shape.eps)

    def _table(self, name: str, rows: int) -> Array:
        return self._tensors.table(self._prefix + name, rows, self._shape.embedding)
