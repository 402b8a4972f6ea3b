"""Our engine alone: the product's own graph, tokenizer and compiled model, without server, batcher or gate.

The limit for whatever serves it: `rounds` times it in a loop, `workload` takes the reference answers from its fp32, and
programs of `servers/` put it behind other servers, so that server and engine can be told apart. Runs in environments
that have openvino, numpy and tokenizers, with the product's source on the path.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inlet.core.errors import Refused
from inlet.runtime.buckets import bucket
from inlet.runtime.build import config as configs
from inlet.runtime.build.encoder import Head, build
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import Variant
from inlet.runtime.engines.openvino.engine import can_bf16
from inlet.runtime.engines.openvino.graph import OpenVinoGraph
from inlet.runtime.texts import Limit, Text, Texts

PRECISIONS = ("fp32", "bf16", "int8")


def variant(precision: str) -> Variant:
    """The engine's settings for that precision on this machine; `Refused` where the processor cannot."""
    if precision == "bf16" and not can_bf16():
        raise Refused("this processor does not compute in bfloat16")
    compute = "bf16" if precision != "fp32" and can_bf16() else "f32"
    return Variant("openvino", precision, compute=compute, group=128 if precision == "int8" else 0)


class Session:
    """A text classifier for one thread; `threads` are the engine's own."""

    def __init__(self, model: Path, precision: str, threads: int) -> None:
        config = configs.read_config(model)
        shape, labels = configs.encoder_shape(config), configs.labels(config)
        self._texts = Texts.open(model, positions=shape.positions, vocabulary=shape.vocabulary)
        self._names, self._pad = labels.names or {}, shape.pad_id
        graph = OpenVinoGraph()
        built = graph.model(build(graph, shape, Weights.open(model), Head.SEQUENCE))
        if precision == "int8":
            built = built.quantised()
        self._lane = built.compile(variant(precision), threads=threads).lanes()[0]

    def classify(self, text: str) -> dict[str, str | float]:
        """The best label and its score, as the product answers it."""
        longest = self._texts.max_length
        encoded = self._texts.encode([Text(text, "inputs")], Limit(longest, clip=True))[0]
        size = len(encoded)
        ids, types, mask = (np.zeros((1, bucket(size, longest)), np.int64) for _ in range(3))
        ids[:] = self._pad
        ids[0, :size], types[0, :size], mask[0, :size] = encoded.ids, encoded.token_types, 1
        logits = self._lane.infer(ids, types, mask)[0]
        odds = np.exp(logits - logits.max())
        best = int(odds.argmax())
        return {"label": self._names[best], "score": float(odds[best] / odds.sum())}
