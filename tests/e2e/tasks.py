"""Every task that is served, on a small model: what is asked, and the shapes of what must come back, in the words of `calling`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .calling import IMAGE, LABELS, SOUND, TABLE, WORD_BOXES

PICTURE, RECORDING = base64.b64encode(IMAGE).decode(), base64.b64encode(SOUND).decode()


@dataclass(frozen=True)
class Served:
    """One task. `model` is one of tests.pipelines.models.

    `inputs` and `parameters` are a plain request and `answer` the shape of what it gets; `answers` what two of these inputs
    get, None where there is one at a time. `clients`: what each official client makes of the answer, None where none has a
    method; `named`: the same of calls, by their name, where it is something else.
    """

    model: str
    inputs: Any
    answer: Any
    answers: Any
    clients: Any = None
    engine: str = "torch"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    named: Mapping[str, Any] = field(default_factory=dict)


def _each(model: str, inputs: Any, answer: Any, clients: Any = None, **more: Any) -> Served:
    """A list of inputs gets a list of answers."""
    return Served(model, inputs, answer, [answer], clients, **more)


def _flat(model: str, inputs: Any, answer: list[Any], clients: Any = None, **more: Any) -> Served:
    """A list of inputs gets one list of all that was found."""
    return Served(model, inputs, answer, answer, clients, **more)


_SCORED = [{"label": "text", "score": "number"}]
_SPAN = {"word": "text", "start": "number", "end": "number", "score": "number"}
_ANSWER = {"answer": "text", "start": "number", "end": "number", "score": "number"}
_MASKED = [{"score": "number", "token": "number", "token_str": "text", "sequence": "text"}]
_BOX = {"xmin": "number", "ymin": "number", "xmax": "number", "ymax": "number"}
_CELLS = {"answer": "text", "coordinates": [["number"]], "cells": ["text"], "aggregator": "text"}
_GENERATED = [{"generated_text": "text"}]
_RECORDED = {"audio": [["number"]], "sampling_rate": "number"}
_FAST: Mapping[str, Any] = {"engine": "openvino"}
_ZERO_SHOT: Mapping[str, Any] = {"parameters": {"candidate_labels": LABELS}}

SERVED: Mapping[str, Served] = {
    "text-classification": _flat("sequence", "the soup", _SCORED, _SCORED, **_FAST),
    "token-classification": _each(
        "tokens", "the soup in paris", [{**_SPAN, "entity": "text", "index": "number"}],
        [{**_SPAN, "entity_group": "text"}], **_FAST,
    ),
    "question-answering": _each(
        "answers", {"question": "who won ?", "context": "the team won"}, _ANSWER, _ANSWER, **_FAST
    ),
    "zero-shot-classification": _each(
        "nli", "the soup", {"sequence": "text", "labels": ["text"], "scores": ["number"]}, _SCORED, **_ZERO_SHOT, **_FAST
    ),
    "fill-mask": _each("masked", "the [MASK] won", _MASKED, _MASKED, **_FAST),
    "feature-extraction": _each("hidden", "the soup", [[["number"]]], [["number"]], **_FAST),
    "sentence-similarity": Served(
        "hidden", {"source_sentence": "the soup", "sentences": ["salt"]}, {"similarities": ["number"]}, None,
        ["number"], **_FAST,
    ),
    "sentence-embeddings": Served(
        "hidden", "the soup", {"embeddings": ["number"]}, {"embeddings": [["number"]]}, **_FAST
    ),
    "summarization": _flat("bart", "the soup", [{"summary_text": "text"}], {"summary_text": "text"}),
    "translation": _flat("bart", "the soup", [{"translation_text": "text"}], {"translation_text": "text"}),
    "text2text-generation": _flat("bart", "the soup", _GENERATED),
    "text-generation": _each(
        "gpt2", "the soup", _GENERATED, "text", parameters={"max_new_tokens": 4}, named={"stream": ["text"]}
    ),
    "table-question-answering": _each("tapas", {"query": "how many", "table": TABLE}, _CELLS, _CELLS),
    "image-classification": _each("vit", PICTURE, _SCORED, _SCORED),
    "zero-shot-image-classification": _each("clip", PICTURE, _SCORED, _SCORED, **_ZERO_SHOT),
    "object-detection": _each(
        "yolos", PICTURE, [{"label": "text", "score": "number", "box": _BOX}],
        [{"label": "text", "score": "number", "box": _BOX}], parameters={"threshold": 0.0},
    ),
    "image-segmentation": _each(
        "segformer", PICTURE, [{"label": "text", "mask": "text"}], [{"label": "text", "score": "number", "mask": "image"}],
        named={"imageSegmentation": [{"label": "text", "score": "number", "mask": "text"}]},
    ),
    "depth-estimation": _each("glpn", PICTURE, {"depth": "text"}),
    "image-to-text": _each("captions", PICTURE, _GENERATED, {"generated_text": "text"}),
    "image-text-to-text": _flat(
        "llava", {"images": [PICTURE], "text": "<image> what is this ?"}, [{"input_text": "text", "generated_text": "text"}],
        parameters={"max_new_tokens": 4},
    ),
    "visual-question-answering": _each(
        "vilt", {"image": PICTURE, "question": "what is this ?"}, [{"answer": "text", "score": "number"}],
        [{"answer": "text", "score": "number"}], named={"visualQuestionAnswering": {"answer": "text", "score": "number"}},
    ),
    "document-question-answering": _each(
        "layoutlm", {"image": PICTURE, "question": "what is this ?", "word_boxes": WORD_BOXES}, [_ANSWER],
        [_ANSWER], named={"documentQuestionAnswering": _ANSWER},
    ),
    "automatic-speech-recognition": _each("wav2vec2", RECORDING, {"text": "text"}, {"text": "text"}),
    "audio-classification": _each("sounds", RECORDING, _SCORED, _SCORED),
    "text-to-speech": _each("vits", "the soup", _RECORDED, "bytes"),
    "text-to-image": Served(
        "diffusion", "the soup", "text", None, "image", parameters={"num_inference_steps": 1, "seed": 3},
        named={"textToImage": "bytes"},
    ),
}  # fmt: skip
