"""A model folder, read: shape, labels, tokenizer, pooling, and how its graph is made. Made once by `loader`, then shared.

The tasks read it; nothing changes it. Whether a task fits the model is decided here, before any weight is read. Knows
nothing of variants and artifacts: what computes the graph is `loader`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inlet.core.errors import Refused
from inlet.runtime.build import config as configs
from inlet.runtime.build.config import EncoderShape, Labels
from inlet.runtime.build.decoder import Decoder
from inlet.runtime.build.encoder import Head, build, has_answers, label_count
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import FP32
from inlet.runtime.origins.choose import Kind, Origin, origin_of
from inlet.runtime.origins.shape import ModelShape, model_shape
from inlet.runtime.pooling import Pooling, read_pooling
from inlet.runtime.texts import Texts

if TYPE_CHECKING:
    from inlet.runtime.engines.openvino.model import OpenVinoModel
    from inlet.runtime.origins.opening import Opened

# Architectures that were trained with a head of that kind, by the end of their name.
_TRAINED_FOR = {
    "ForSequenceClassification": Head.SEQUENCE,
    "ForTokenClassification": Head.TOKEN,
    "ForQuestionAnswering": Head.ANSWER,
    "ForMaskedLM": Head.MASKED,
}
_DEFAULT_LABELS = 2  # what transformers takes where a configuration names none
_TASK_OF = {
    Head.SEQUENCE: "text-classification",
    Head.TOKEN: "token-classification",
    Head.ANSWER: "question-answering",
    Head.MASKED: "fill-mask",
}
_LABELLED = (Head.SEQUENCE, Head.TOKEN)
# Graphs made elsewhere put these answers into several outputs, or into one that is too large.
_ONLY_BUILT = (Head.ANSWER, Head.MASKED)
_ENTAILED = "entail"  # how the label of models begins that compare two statements


@dataclass(frozen=True, slots=True)
class Model:
    """`texts` clips at the tokenizer's length, `sentences` at the pooling's; `positions` is what the weights allow.

    `label_names`: of heads that classify, else empty. `decoder`: of `Head.MASKED`.
    """

    folder: Path
    origin: Origin
    head: Head
    shape: EncoderShape | ModelShape
    labels: Labels
    label_names: tuple[str, ...]
    texts: Texts
    sentences: Texts
    pooling: Pooling
    decoder: Decoder | None = None

    @property
    def positions(self) -> int:
        return self.shape.positions

    @property
    def entailment(self) -> int | None:
        """The index of the label that says that the second text follows from the first; None when there is none."""
        found = (index for index, name in enumerate(self.label_names) if name.lower().startswith(_ENTAILED))
        return next(found, None)

    @property
    def reads_pairs(self) -> bool:
        """Whether it was made for pairs of texts: it scores how one fits the other, or whether one follows from the other."""
        scores = len(self.label_names) == 1 and self.labels.problem_type is None
        return self.head is Head.ANSWER or (
            self.head is Head.SEQUENCE and (scores or self.entailment is not None)
        )

    def graph(self) -> OpenVinoModel:
        """Of a model that we build: in fp32, made anew, its weights views of the files, which stay mapped as long as it lives."""
        from inlet.runtime.engines.openvino.graph import OpenVinoGraph

        assert isinstance(self.shape, EncoderShape)  # noqa: S101 - that is what its origin means
        graph = OpenVinoGraph()
        return graph.model(build(graph, self.shape, Weights.open(self.folder), self.head))

    @property
    def fp32_bytes(self) -> int:
        """What the weights take in float32; of files that are not ours to read twice what they have, as if in half precision."""
        if self.origin.kind is Kind.BUILT:
            return Weights.open(self.folder).fp32_bytes
        return 2 * sum((self.folder / name).stat().st_size for name in self.origin.files)

    def open(self, exports: Path, report: Callable[[str], None]) -> Opened:
        """What can be compiled. `exports`: the folder of this model's export, if it is one that must be exported."""
        from inlet.runtime.origins.opening import Opened, Opening, open_graph

        if isinstance(self.shape, EncoderShape):
            return Opened(self.graph(), FP32)
        labels = len(self.label_names) if self.head in _LABELLED else None
        return open_graph(Opening(self.folder, self.origin, self.head, self.shape, labels, exports), report)


def open_model(folder: Path, *, task: str, head: Head) -> Model:
    """Read the folder for that task and head; `Refused` says what is wrong and what to do. Starts no engine."""
    config = configs.read_config(folder)
    origin, labels = origin_of(folder, config), configs.labels(config)
    _refuse_other_head(labels, task, head)
    shape: EncoderShape | ModelShape
    decoder = None
    if origin.kind is Kind.BUILT:
        shape, weights = configs.encoder_shape(config), Weights.open(folder)
        count = label_count(shape, weights)
        if head is Head.ANSWER and not has_answers(weights):
            raise Refused(
                f"the weights have no qa_outputs of two rows, so the model cannot do {task}", field="task"
            )
        if head is Head.MASKED:
            decoder = Decoder.of(shape, weights, tied=config.get("tie_word_embeddings") is not False)
    elif head in _ONLY_BUILT:
        raise Refused(
            f"{task} is served from safetensors weights of a known kind only; {origin.reason}", field="task"
        )
    else:
        shape, count = (
            model_shape(config, folder),
            _DEFAULT_LABELS if labels.names is None else len(labels.names),
        )
    texts = Texts.open(folder, positions=shape.positions, vocabulary=shape.vocabulary)
    pooling = read_pooling(folder) if head is Head.HIDDEN else Pooling()
    names = _label_names(labels, count, task) if head in _LABELLED else ()
    sentences = texts.shortened(pooling.max_length, lower_case=pooling.lower_case)
    return Model(folder, origin, head, shape, labels, names, texts, sentences, pooling, decoder)


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
