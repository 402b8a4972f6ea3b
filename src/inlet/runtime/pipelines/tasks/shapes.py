"""Answers in the two dialects, from what a worker computed for each item. Pure; used by the table in `tasks`.

A shape takes one row per item, with arrays and blobs in place, and what was asked; it answers a JSON value (numpy arrays
in it are fine), or a `Blob` that is the whole body.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inlet.runtime.dialect import Dialect, Request, Shape
from inlet.runtime.pipelines.call import Blob
from inlet.runtime.tasks.labels import SHAPE_PARAMETERS, LabelShape
from inlet.runtime.tasks.parameters import Parameters

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Ask:
    """What shapes an answer. `single`: the inputs were one item, not a list of some."""

    request: Request
    items: list[Any]
    parameters: Mapping[str, Any]
    single: bool

    @property
    def api(self) -> bool:
        return self.request.dialect is Dialect.API


Shaper = Callable[[list[Any], Ask], Any]


def as_is(rows: list[Any], ask: Ask) -> Any:
    """The row, or the rows."""
    return rows[0] if ask.single else rows


def generated(name: str) -> Shaper:
    """Rows of texts as one flat list of `{name: text}`."""
    return lambda rows, _: [{name: text} for texts in rows for text in texts]


def texts_per_item(rows: list[Any], ask: Ask) -> Any:
    """`[{generated_text}]` for each image; of one image only the first for the callers that expect that."""
    made = [[{"generated_text": text} for text in texts] for texts in rows]
    return made[0][0] if ask.single and Shape.ONE_CAPTION in ask.request.shapes else as_is(made, ask)


def answers_about(rows: list[Any], ask: Ask) -> Any:
    """image-text-to-text: `[{input_text, generated_text}]`, with the input unless `return_full_text` is false."""
    full = ask.parameters.get("return_full_text", True)
    return [
        {"input_text": item, "generated_text": _continued(item, text) if full else text}
        for item, texts in zip(map(_without_images, ask.items), rows, strict=True)
        for text in texts
    ]


def _without_images(item: Any) -> Any:
    """The text of an item: what an answer repeats must not carry images back."""
    if not isinstance(item, list):
        return item["text"]
    return [
        {**message, "content": [part for part in message["content"] if part["type"] == "text"]}
        if isinstance(message["content"], list)
        else message
        for message in item
    ]


def continued_texts(rows: list[Any], ask: Ask) -> Any:
    """text-generation: `[{generated_text, details?}]` per prompt, with the prompt unless `return_full_text` is false."""
    full = ask.parameters.get("return_full_text", True)
    shaped = [
        [
            {
                "generated_text": _continued(item, made["text"]) if full else made["text"],
                **({"details": _details(made, ask)} if ask.parameters.get("details") else {}),
            }
            for made in row
        ]
        for item, row in zip(ask.items, rows, strict=True)
    ]
    return as_is(shaped, ask)


def _continued(item: Any, text: str) -> Any:
    """A conversation that ends with the assistant goes on with the same message."""
    if isinstance(item, str):
        return item + text
    *before, last = item
    if last["role"] == "assistant" and isinstance(last["content"], str):
        return [*before, {**last, "content": last["content"] + text}]
    return [*item, {"role": "assistant", "content": text}]


def _details(made: Mapping[str, Any], ask: Ask) -> dict[str, Any]:
    return {
        "finish_reason": made["finish_reason"],
        "generated_tokens": made["generated_tokens"],
        "seed": ask.parameters.get("seed"),
        "prefill": [],
        "tokens": made["tokens"],
    }


def labels(rows: list[Any], ask: Ask) -> Any:
    """text-classification, from every label's score in the model's order."""
    asked = {name: value for name, value in ask.request.parameters.items() if name in SHAPE_PARAMETERS}
    shape = LabelShape.of(ask.request, Parameters(asked, SHAPE_PARAMETERS), single=ask.single)
    return shape.answer([shape.row(np.array(row["scores"], dtype=np.float32), row["labels"]) for row in rows])


def zero_shot(rows: list[Any], ask: Ask) -> Any:
    """`{sequence, labels, scores}`; of one text `[{label, score}]` for the callers that expect that."""
    if ask.single and Shape.LABEL_LIST in ask.request.shapes:
        return [
            {"label": label, "score": score}
            for label, score in zip(rows[0]["labels"], rows[0]["scores"], strict=True)
        ]
    return as_is(rows, ask)


def token_vectors(rows: list[Any], ask: Ask) -> Any:
    """feature-extraction: `[1][tokens][hidden]` per text, without the leading axis in the `api` dialect."""
    return as_is(rows if ask.api else [row[None] for row in rows], ask)


def table_answers(rows: list[Any], ask: Ask) -> Any:
    """table-question-answering; the `api` dialect always has the fields that its clients insist on."""
    if ask.api:
        rows = [{"coordinates": [], "cells": [], "aggregator": "NONE", **row} for row in rows]
    return as_is(rows, ask)


def segments(rows: list[Any], ask: Ask) -> Any:
    """image-segmentation: masks as base64; the `api` dialect has no score that is null."""
    return as_is(
        [
            [
                {
                    "score": 1 if ask.api and segment["score"] is None else segment["score"],
                    "label": segment["label"],
                    "mask": _base64(segment["mask"]),
                }
                for segment in row
            ]
            for row in rows
        ],
        ask,
    )


def depths(rows: list[Any], ask: Ask) -> Any:
    """depth-estimation: the map as the body, or in JSON, with the numbers themselves when they were asked for."""
    if ask.parameters["content_type"] != JSON:
        return rows[0]["depth"]
    return as_is([{**row, "depth": _base64(row["depth"])} for row in rows], ask)


def pictures(rows: list[Any], ask: Ask) -> Any:
    """text-to-image: the image as the body, or as a base64 string."""
    if ask.parameters["content_type"] != JSON:
        return rows[0]
    return as_is([_base64(row) for row in rows], ask)


def speech(rows: list[Any], ask: Ask) -> Any:
    """text-to-speech: a sound file as the body, or its numbers `[channels][samples]` in JSON."""
    return rows[0] if ask.parameters["content_type"] != JSON else as_is(rows, ask)


def _base64(blob: Blob) -> str:
    return base64.b64encode(blob.content).decode()
