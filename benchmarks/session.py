"""Our engine alone: the product's own graph, tokenizer and compiled model, without server, batcher or gate.

The limit for whatever serves it: `engine` times it in a loop, `prepare` takes the reference answers from its fp32, `head` reads the
encoder's features with it, and programs of `servers/` put it behind other servers, so that server and engine can be told
apart. Runs in environments that have openvino, numpy and tokenizers, with the product's source on the path.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inlet.core.errors import Refused
from inlet.runtime.artifact.candidates import int8_variants
from inlet.runtime.buckets import bucket
from inlet.runtime.build import config as configs
from inlet.runtime.build.encoder import Head, build
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import BF16, FP32, FloatArray, Variant
from inlet.runtime.engines.openvino.engine import can_bf16
from inlet.runtime.engines.openvino.graph import OpenVinoGraph
from inlet.runtime.texts import Limit, Text, Texts

PRECISIONS = ("fp32", "bf16", "int8")


def variant(precision: str, hidden: int) -> Variant:
    """The first that the product would try in that precision on this machine; `Refused` where the processor cannot.

    `hidden`: the model's width, which the groups of int8 have to divide.
    """
    if precision == "int8":
        return int8_variants(hidden, bf16=can_bf16())[0]
    if precision == "bf16" and not can_bf16():
        raise Refused("this processor does not compute in bfloat16")
    return BF16 if precision == "bf16" else FP32


class Encoder:
    """A compiled model with one head for one thread, text by text; `threads` are the engine's own."""

    def __init__(self, model: Path, head: Head, precision: str, threads: int) -> None:
        shape = configs.encoder_shape(configs.read_config(model))
        self._texts = Texts.open(model, positions=shape.positions, vocabulary=shape.vocabulary)
        self._pad = shape.pad_id
        graph = OpenVinoGraph()
        built = graph.model(build(graph, shape, Weights.open(model), head))
        if precision == "int8":
            built = built.quantised()
        self._lane = built.compile(variant(precision, shape.hidden), threads=threads).lanes()[0]

    def infer(self, text: str) -> FloatArray:
        """What the head gives for the text, clipped to what the model takes; overwritten by the next call."""
        longest = self._texts.max_length
        encoded = self._texts.encode([Text(text, "inputs")], Limit(longest, clip=True))[0]
        size = len(encoded)
        ids, types, mask = (np.zeros((1, bucket(size, longest)), np.int64) for _ in range(3))
        ids[:] = self._pad
        ids[0, :size], types[0, :size], mask[0, :size] = encoded.ids, encoded.token_types, 1
        return self._lane.infer(ids, types, mask)[0]


class Session:
    """A text classifier for one thread; `threads` are the engine's own."""

    def __init__(self, model: Path, precision: str, threads: int) -> None:
        self._names = configs.labels(configs.read_config(model)).names or {}
        self._encoder = Encoder(model, Head.SEQUENCE, precision, threads)

    def classify(self, text: str) -> dict[str, str | float]:
        """The best label and its score, as the product answers it."""
        logits = self._encoder.infer(text)
        odds = np.exp(logits - logits.max())
        best = int(odds.argmax())
        return {"label": self._names[best], "score": float(odds[best] / odds.sum())}
