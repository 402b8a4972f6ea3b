"""Every task that a worker can do, as one table: its items, its parameters, the shape of its answers. Pure; read by `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inlet.runtime.pipelines.tasks import items, shapes
from inlet.runtime.pipelines.tasks.fields import (
    Field,
    Fields,
    boolean,
    choice,
    integer,
    number,
    padding,
    string,
    strings,
    truncation,
)
from inlet.runtime.pipelines.tasks.samples import PICTURE, SOUND
from inlet.runtime.pipelines.tasks.shapes import JSON

MAX_TEXTS = 1_000  # in one request; each is computed on its own
MAX_MEDIA = 32
MAX_LABELS = 100  # each is one more text for the model to read, with every item
_top = integer(1, 10_000)
_function = choice("softmax", "sigmoid", "none")
_length = integer(1, 1_000_000)
_labels = strings(MAX_LABELS, commas=True, least=1)
_template = string(1_000)
_fraction = number(0, 1)


@dataclass(frozen=True, slots=True)
class TaskKind:
    """One task.

    `sample`: a request's body for the warm-up. `at_root`: parts of an item that old clients send beside `inputs`; the first of
    `parts` is the one that `inputs` itself is when it is no object. `lists`: a part whose list means several items.
    `parts_in_parameters`: parts of an item that clients put among the parameters.
    `required`: parameters without which nothing can be computed. `also`: names of parameters that stand for others.
    `media`: what the answer can be besides JSON, and whether the `api` dialect prefers that.
    """

    item: items.Item
    shape: shapes.Shaper
    sample: Mapping[str, Any]
    parameters: Fields = field(default_factory=dict)
    generates: bool = False
    most: int = MAX_TEXTS
    at_root: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    parts_of_item: tuple[str, ...] = ()
    parts_in_parameters: tuple[str, ...] = ()
    parameters_in_inputs: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    also: Mapping[str, str] = field(default_factory=dict)
    media: tuple[str, ...] = ()
    api_prefers_media: bool = False
    conversations: bool = False
    raw: bool = False


_SHORT = {"max_new_tokens": 1}
_IMAGES = ("image/png", "image/jpeg", "image/webp")
_ZERO_SHOT: Mapping[str, Field] = {"candidate_labels": _labels, "hypothesis_template": _template}
_CAMEL = {"candidateLabels": "candidate_labels"}


def _image(shape: shapes.Shaper, parameters: Fields, sample: Any = PICTURE, **more: Any) -> TaskKind:
    return TaskKind(
        items.image,
        shape,
        {"inputs": sample},
        parameters,
        most=MAX_MEDIA,
        at_root=("image",),
        raw=True,
        **more,
    )


def _audio(shape: shapes.Shaper, parameters: Fields, **more: Any) -> TaskKind:
    return TaskKind(
        items.audio,
        shape,
        {"inputs": SOUND},
        parameters,
        most=MAX_MEDIA,
        at_root=("audio",),
        raw=True,
        **more,
    )


def _sequence_to_sequence(shape: shapes.Shaper, **more: Field) -> TaskKind:
    return TaskKind(items.some_text, shape, {"inputs": "ready", "parameters": _SHORT}, more, generates=True)


_translation = _sequence_to_sequence(
    shapes.generated("translation_text"), src_lang=string(100), tgt_lang=string(100)
)
_speech = TaskKind(
    items.some_text, shapes.speech, {"inputs": "ready"}, {}, generates=True, most=MAX_MEDIA,
    media=("audio/wav",), api_prefers_media=True,
)  # fmt: skip

TASKS: Mapping[str, TaskKind] = {
    "summarization": _sequence_to_sequence(shapes.generated("summary_text")),
    "translation": _translation,
    "text2text-generation": _sequence_to_sequence(shapes.generated("generated_text")),
    "text-generation": TaskKind(
        items.prompt, shapes.continued_texts, {"inputs": "ready", "parameters": _SHORT},
        {"return_full_text": boolean, "details": boolean, "stream": boolean},
        generates=True, conversations=True,
    ),
    "table-question-answering": TaskKind(
        items.table_question, shapes.table_answers, {"inputs": {"query": "ready?", "table": {"column": ["1"]}}},
        {"padding": padding, "truncation": truncation, "sequential": boolean},
        most=MAX_MEDIA, at_root=("query", "question", "table"), lists=("query", "question"),
    ),
    "question-answering": TaskKind(
        items.question_context, shapes.as_is, {"inputs": {"question": "who?", "context": "ready"}},
        {
            "top_k": integer(1, 100), "doc_stride": _length, "max_answer_len": integer(1, 1_000), "max_seq_len": _length,
            "max_question_len": _length, "handle_impossible_answer": boolean, "align_to_words": boolean,
        },
        most=MAX_MEDIA, at_root=("question", "context"), lists=("question", "context"),
    ),
    "text-classification": TaskKind(
        items.text_or_pair, shapes.labels, {"inputs": "ready"},
        {
            "top_k": _top, "return_all_scores": boolean, "function_to_apply": _function, "truncation": truncation,
            "padding": padding, "max_length": _length,
        },
    ),
    "token-classification": TaskKind(
        items.text, shapes.as_is, {"inputs": "ready"},
        {
            "aggregation_strategy": choice("none", "simple", "first", "average", "max"),
            "ignore_labels": strings(1_000), "stride": integer(0, 1_000_000),
        },
    ),
    "fill-mask": TaskKind(
        items.some_text, shapes.as_is, {"inputs": "[MASK] <mask>"}, {"top_k": integer(1, 1_000), "targets": strings(1_000, least=1)},
    ),
    "zero-shot-classification": TaskKind(
        items.sequence, shapes.zero_shot, {"inputs": "ready", "parameters": {"candidate_labels": ["yes", "no"]}},
        {**_ZERO_SHOT, "multi_label": boolean, "multi_class": boolean},
        most=MAX_MEDIA, required=("candidate_labels",), also={**_CAMEL, "multi_class": "multi_label"},
        parameters_in_inputs=("candidate_labels", "candidateLabels"),
    ),
    "feature-extraction": TaskKind(
        items.text, shapes.token_vectors, {"inputs": "ready"}, {"truncation": truncation, "truncate": boolean},
        most=MAX_MEDIA,
    ),
    "image-classification": _image(shapes.as_is, {"top_k": _top, "function_to_apply": _function}),
    "zero-shot-image-classification": _image(
        shapes.as_is, _ZERO_SHOT, {"image": PICTURE, "candidate_labels": ["yes", "no"]}, required=("candidate_labels",), also=_CAMEL,
        parameters_in_inputs=("candidate_labels", "candidateLabels"),
    ),
    "object-detection": _image(shapes.as_is, {"threshold": _fraction}),
    "image-segmentation": _image(
        shapes.segments,
        {
            "subtask": choice("panoptic", "instance", "semantic"), "threshold": _fraction, "mask_threshold": _fraction,
            "overlap_mask_area_threshold": _fraction,
        },
    ),
    "depth-estimation": _image(shapes.depths, {"predicted_depth": boolean}, media=_IMAGES),
    "image-to-text": _image(shapes.texts_per_item, {}, generates=True),
    "image-text-to-text": TaskKind(
        items.images_text, shapes.answers_about, {"inputs": {"images": [PICTURE], "text": "ready"}, "parameters": _SHORT},
        {"return_full_text": boolean}, generates=True, most=MAX_MEDIA, at_root=("images", "image", "text"), conversations=True,
        parts_of_item=("image", "text"), raw=True,
    ),
    "visual-question-answering": TaskKind(
        items.image_question, shapes.as_is, {"inputs": {"image": PICTURE, "question": "what?"}}, {"top_k": integer(1, 1_000)},
        most=MAX_MEDIA, at_root=("image", "question"), parts_of_item=("image", "question"), raw=True,
    ),
    "document-question-answering": TaskKind(
        items.document_question, shapes.as_is,
        {"inputs": {"image": PICTURE, "question": "what?", "word_boxes": [["ready", [0, 0, 10, 10]]]}},
        {
            "top_k": integer(1, 100), "doc_stride": _length, "max_answer_len": integer(1, 1_000),
            "max_question_len": _length, "max_seq_len": _length, "handle_impossible_answer": boolean, "lang": string(100),
        },
        most=MAX_MEDIA, at_root=("image", "question", "word_boxes"),
        parts_of_item=("image", "question", "word_boxes"), parts_in_parameters=("word_boxes",), raw=True,
    ),
    "automatic-speech-recognition": _audio(
        shapes.as_is,
        {
            "return_timestamps": lambda values, name: (
                values.choice(name, ("word", "char"), None) if isinstance(values.get(name), str) else values.boolean(name, None)
            ),
            "language": string(100), "task": choice("transcribe", "translate"),
            "chunk_length_s": number(0, 1_000), "stride_length_s": number(0, 1_000),
        },
        generates=True,
    ),
    "audio-classification": _audio(shapes.as_is, {"top_k": _top, "function_to_apply": _function}),
    "text-to-speech": _speech,
    "text-to-audio": _speech,
    "text-to-image": TaskKind(
        items.some_text, shapes.pictures, {"inputs": "ready", "parameters": {"num_inference_steps": 1}},
        {
            "negative_prompt": string(10_000), "height": integer(8, 2_048), "width": integer(8, 2_048),
            "num_inference_steps": integer(1, 500), "guidance_scale": number(0, 100), "seed": integer(0, 2**63 - 1),
        },
        most=1, media=_IMAGES, api_prefers_media=True,
    ),
}  # fmt: skip
_ALIASES = {
    "conversational": "text-generation",
    "ner": "token-classification",
    "sentiment-analysis": "text-classification",
    "vqa": "visual-question-answering",
}


def canonical(task: str) -> str:
    """The task's present name: that of the table. One that is not in it stays as it is."""
    if task.startswith("translation_") and "_to_" in task:
        return "translation"
    return _ALIASES.get(task, task)


__all__ = ["JSON", "TASKS", "TaskKind", "canonical"]
