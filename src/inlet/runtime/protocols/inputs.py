"""Texts, token ids and pairs of texts as other protocols send them, and the work that they are. Used by `tei`, `openai`, `rerank`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inlet.core.errors import Invalid
from inlet.runtime.dialect import kind
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.model import Model
from inlet.runtime.pooling import normalised
from inlet.runtime.protocols.fields import Fields, listed, string
from inlet.runtime.protocols.routed import Empty
from inlet.runtime.tasks.base import Work
from inlet.runtime.texts import MAX_TOKENS, Encoded, Limit, Text, Texts

_IDS = 2**32  # as many as any tokenizer can have


@dataclass(frozen=True, slots=True)
class Ids:
    """Token ids that the model is given as they are, and where in the request they stood."""

    ids: list[int]
    field: str


def read_inputs(value: Any, field: str, *, most: int) -> list[Text | Ids]:
    """One text or several, each as a string or as token ids; at most `most`, and none of them empty."""
    if isinstance(value, str) or (isinstance(value, list) and value and is_id(value[0])):
        return [_input(value, field)]
    if not isinstance(value, list):
        raise Invalid(f"expected a string, token ids, or a list of these, got {kind(value)}", field=field)
    return [_input(item, f"{field}[{index}]") for index, item in enumerate(listed(value, field, most=most))]


def read_ids(value: Any, field: str) -> list[int]:
    """A list of token ids, which may not be empty."""
    ids = listed(value, field, most=MAX_TOKENS)
    if set(map(type, ids)) == {int} and min(ids) >= 0 and max(ids) < _IDS:
        return ids
    index = next(index for index, item in enumerate(ids) if not is_id(item))
    wrong = ids[index]
    shown = str(wrong) if isinstance(wrong, int) else kind(wrong)
    raise Invalid(f"expected a token id, got {shown}", field=f"{field}[{index}]")


def is_id(value: Any) -> bool:
    """Whether it could be the id of a token."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _IDS


def read_dimensions(p: Fields, model: Model) -> int | None:
    """How many numbers a vector should have, no more than the model's have."""
    dimensions, width = p.integer("dimensions", None, minimum=1), model.pooling.width(model.shape.hidden)
    if dimensions is not None and dimensions > width:
        raise Invalid(f"the model has {width}, got {dimensions}", field="dimensions")
    return dimensions


def vectors(
    model: Model,
    items: Sequence[Text | Ids],
    limit: Limit,
    *,
    prompt_name: str | None = None,
    dimensions: int | None = None,
    normalize: bool = True,
) -> Work:
    """A pooled vector for each, of the first `dimensions` numbers, at length one if `normalize`."""

    def reduce(row: FloatArray, _: Encoded) -> FloatArray:
        vector = model.pooling.pool(row)[:dimensions]
        return normalised(vector) if normalize else vector

    return of_items(model, items, limit, prompt_name=prompt_name, reduce=reduce)


def of_items(
    model: Model,
    items: Sequence[Text | Ids],
    limit: Limit,
    *,
    prompt_name: str | None,
    reduce: Callable[[FloatArray, Encoded], FloatArray],
) -> Work:
    """Work on texts with the model's prompt before each, and on token ids without one."""
    prompt = model.pooling.prompt(prompt_name, field="prompt_name")
    texts = [Text(prompt + item.text, item.field) for item in items if isinstance(item, Text)]

    def encode() -> list[Encoded]:
        encoded = iter(within(model.sentences, texts, limit))
        return [
            next(encoded) if isinstance(item, Text) else _of_ids(item, model.shape.vocabulary, limit)
            for item in items
        ]

    return Work(texts, encode, reduce, lambda rows: rows)


def within(texts: Texts, given: Sequence[Text], limit: Limit, *, sources: bool = False) -> list[Encoded]:
    """Token ids of each text; a refusal tells of `truncate`, as these protocols call it."""
    if limit.clip:
        return texts.encode(given, limit, sources=sources)
    found = texts.encode(given, Limit(MAX_TOKENS, clip=False), sources=sources)
    for encoded in found:
        _check(len(encoded), encoded.text.field, limit)
    return found


def pairs(query: str, texts: Sequence[str], field: str) -> list[Text]:
    """The query with each text."""
    return [Text(query, f"{field}[{index}]", text) for index, text in enumerate(texts)]


def _input(value: Any, field: str) -> Text | Ids:
    if isinstance(value, str):
        if not value:
            raise Empty("must not be empty", field=field)
        return Text(string(value, field), field)
    if not isinstance(value, list):
        raise Invalid(f"expected a string or a list of token ids, got {kind(value)}", field=field)
    return Ids(read_ids(value, field), field)


def _of_ids(item: Ids, vocabulary: int, limit: Limit) -> Encoded:
    if max(item.ids) >= vocabulary:
        index = next(index for index, token in enumerate(item.ids) if token >= vocabulary)
        raise Invalid(
            f"{item.ids[index]} is no token: the model has {vocabulary}", field=f"{item.field}[{index}]"
        )
    if not limit.clip:
        _check(len(item.ids), item.field, limit)
    kept = item.ids[: limit.tokens] if limit.side == "right" else item.ids[-limit.tokens :]
    ids = np.array(kept, dtype=np.int64)
    return Encoded(Text("", item.field), ids, np.zeros_like(ids))


def _check(tokens: int, field: str, limit: Limit) -> None:
    if tokens > limit.tokens:
        raise Invalid(
            f'{tokens} tokens, more than the {limit.tokens} that this model takes; shorten it, or send "truncate": true',
            field=field,
        )
