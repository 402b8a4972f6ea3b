"""A model folder, read: shape, labels, tokenizer, pooling, and the compiled engine. Made once by `loader`, then shared.

The tasks read it; nothing changes it. Whether a task fits the model is decided here, before any weight is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inlet.core.errors import Refused
from inlet.runtime.build import config as configs
from inlet.runtime.build.config import EncoderShape, Labels
from inlet.runtime.build.encoder import Head, build, label_count
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import Engine
from inlet.runtime.pooling import Pooling, read_pooling
from inlet.runtime.texts import Texts

# Architectures that were trained with a head of that kind, by the end of their name.
_TRAINED_FOR = {
    "ForSequenceClassification": Head.SEQUENCE,
    "ForTokenClassification": Head.TOKEN,
}
_TASK_OF = {Head.SEQUENCE: "text-classification", Head.TOKEN: "token-classification"}


@dataclass(frozen=True, slots=True)
class Model:
    """`texts` clips at the tokenizer's length, `sentences` at the pooling's; `positions` is what the weights allow."""

    shape: EncoderShape
    labels: Labels
    label_names: tuple[str, ...]
    texts: Texts
    sentences: Texts
    pooling: Pooling
    engine: Engine

    @property
    def positions(self) -> int:
        return self.shape.positions


def open_model(folder: Path, *, task: str, head: Head, threads: int) -> Model:
    """Read the folder and compile the graph with that head; `Refused` says what is wrong and what to do."""
    # Late, so that a refusal costs no engine start.
    config = configs.read_config(folder)
    shape, labels = configs.encoder_shape(config), configs.labels(config)
    _refuse_other_head(labels, task, head)
    texts = Texts.open(folder, positions=shape.positions, vocabulary=shape.vocabulary)
    pooling = read_pooling(folder) if head is Head.HIDDEN else Pooling()
    weights = Weights.open(folder)
    names = () if head is Head.HIDDEN else _label_names(labels, label_count(shape, weights), task)

    from inlet.runtime.engines.base import Variant
    from inlet.runtime.engines.openvino.graph import OpenVinoGraph

    graph = OpenVinoGraph()
    built = graph.model(build(graph, shape, weights, head))
    engine = built.compile(Variant("openvino", "fp32"), threads=threads)
    sentences = texts.shortened(pooling.max_length, lower_case=pooling.lower_case)
    return Model(shape, labels, names, texts, sentences, pooling, engine)


def _refuse_other_head(labels: Labels, task: str, head: Head) -> None:
    for architecture in labels.architectures:
        for end, trained in _TRAINED_FOR.items():
            if architecture.endswith(end) and head not in (trained, Head.HIDDEN):
                raise Refused(
                    f"the model is a {architecture}: it does {_TASK_OF[trained]}, not {task}", field="task"
                )


def _label_names(labels: Labels, count: int, task: str) -> tuple[str, ...]:
    if count == 0:
        kind = ", ".join(labels.architectures) or "model without a head"
        raise Refused(
            f"the model has no classification head ({kind}), so it cannot do {task}; it can do feature-extraction and "
            "sentence-similarity",
            field="task",
        )
    if labels.names is None:
        return tuple(f"LABEL_{index}" for index in range(count))
    if sorted(labels.names) != list(range(count)):
        raise Refused(f"config.json names {len(labels.names)} labels, the weights have {count}")
    return tuple(labels.names[index] for index in range(count))
