"""The routes of text-embeddings-inference, with its limits, its headers and its words for what is wrong.

Called by way of `table`, and by `encoding` for `/predict`, where this protocol meets the stock container's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from inlet.core.errors import InletError, Invalid, TooLarge, TooMany, Unavailable
from inlet.runtime import answers, body
from inlet.runtime.answers import Answer
from inlet.runtime.build.encoder import Head
from inlet.runtime.dialect import kind
from inlet.runtime.encoding import Computed, Encoding, maybe_threaded
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.info import MAX_CLIENT_BATCH
from inlet.runtime.model import Model
from inlet.runtime.protocols import rerank
from inlet.runtime.protocols.fields import Fields, listed, mapping, string
from inlet.runtime.protocols.inputs import (
    Ids,
    is_id,
    of_items,
    pairs,
    read_dimensions,
    read_ids,
    read_inputs,
    vectors,
    within,
)
from inlet.runtime.protocols.routed import Empty, Routed, Unfit
from inlet.runtime.protocols.times import timed
from inlet.runtime.scores import FUNCTIONS, function_of
from inlet.runtime.serving import Asked
from inlet.runtime.tasks.base import Work
from inlet.runtime.tasks.embeddings import MAX_NUMBERS
from inlet.runtime.texts import MAX_TOKENS, Encoded, Limit, Text

_TRUNCATION = frozenset({"truncate", "truncation_direction"})
_EMBED = _TRUNCATION | {"prompt_name", "normalize", "dimensions"}
_PREDICT = _TRUNCATION | {"raw_scores"}
_INLINE_TOKENS = 500  # more than this take longer than handing them to a thread
Body = Mapping[str, Any]
Plan = Callable[[Model, Body], Work]


async def embed(routed: Routed) -> Answer:
    """A pooled vector for each text: always a list of them, for a single text too."""
    return await _computed(routed.embedder(), routed, _embed)


async def embed_all(routed: Routed) -> Answer:
    """A vector for each token of each text."""
    return await _computed(routed.embedder(), routed, _embed_all)


async def embed_sparse(routed: Routed) -> Answer:
    """No model here is pooled that way."""
    raise Unfit(f"this endpoint does {routed.served.task}: it makes no sparse embeddings")


async def similarity(routed: Routed) -> Answer:
    """How near each sentence is to the source sentence."""
    return await _computed(routed.embedder(), routed, _similarity)


async def ranks(routed: Routed) -> Answer:
    """The texts by how well they answer the query; with `documents`, in the words of Cohere and Jina."""
    if "documents" in routed.body():
        return await rerank.ranks(routed)
    return await _computed(routed.reranker(), routed, _rerank)


async def tokenize(routed: Routed) -> Answer:
    """The tokens of each text, and where they stand in it."""
    encoder, received = routed.encoder(), routed.body()
    model = encoder.loaded.model
    p = Fields(received, {"add_special_tokens", "prompt_name"})
    specials = p.boolean("add_special_tokens", True)
    prompt = model.pooling.prompt(p.string("prompt_name", None), field="prompt_name")
    texts = [
        Text(prompt + item.text, item.field) for item in _texts(received.get("inputs"), MAX_CLIENT_BATCH)
    ]

    def tokens() -> bytes:
        encoded = within(model.sentences, texts, Limit(MAX_TOKENS, clip=False), sources=True)
        return answers.dump([_tokens(item, specials=specials) for item in encoded])

    few = sum(len(text.text) for text in texts) <= _INLINE_TOKENS
    return Answer(200, await maybe_threaded(tokens, inline=few))


async def decode(routed: Routed) -> Answer:
    """The text of each list of token ids."""
    encoder, received = routed.encoder(), routed.body()
    skip = Fields(received, {"skip_special_tokens"}).boolean("skip_special_tokens", True)
    given = received.get("ids")
    if isinstance(given, list) and given and is_id(given[0]):
        lists = [read_ids(given, "ids")]
    else:
        several = listed(given, "ids", most=MAX_CLIENT_BATCH)
        lists = [read_ids(ids, f"ids[{index}]") for index, ids in enumerate(several)]
    texts = encoder.loaded.model.texts

    def decoded() -> list[str]:
        return [texts.decode(np.array(ids, dtype=np.int64), specials=not skip) for ids in lists]

    return answers.ok(await maybe_threaded(decoded, inline=sum(map(len, lists)) <= _INLINE_TOKENS))


async def vertex(routed: Routed) -> Answer:
    """Several requests of the model's main route at once."""
    encoder = routed.encoder()
    plan = _main_plan(routed)
    instances = listed(routed.body().get("instances"), "instances", most=MAX_CLIENT_BATCH)
    works = []
    for index, instance in enumerate(instances):
        if not isinstance(instance, Mapping):
            raise Invalid(f"expected an object, got {kind(instance)}", field=f"instances[{index}]")
        works.append(plan(encoder.loaded.model, instance))
    results = await asyncio.gather(
        *(encoder.compute(work, routed.asked) for work in works), return_exceptions=True
    )
    computed = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        computed.append(result)
    total = Computed(
        [row for one in computed for row in one.rows],
        texts=sum(one.texts for one in computed),
        characters=sum(one.characters for one in computed),
        tokens=sum(one.tokens for one in computed),
        tokenizing=max(one.tokenizing for one in computed),
        queueing=max(one.queueing for one in computed),
        computing=max(one.computing for one in computed),
    )

    def predictions() -> Any:
        answered = [work.answer(one.rows) for work, one in zip(works, computed, strict=True)]
        return {"predictions": answered}

    return timed(await encoder.written(predictions, total), total, routed.asked)


def spells(served: Encoding, received: Body) -> bool:
    """Whether a request to `/predict` is in this protocol: by what the stock container's has not."""
    if served.loaded.model.head is not Head.SEQUENCE:
        return False
    inputs = received.get("inputs")
    nested = isinstance(inputs, list) and any(isinstance(item, list) for item in inputs)
    return nested or not _PREDICT.isdisjoint(received)


async def predict(served: Encoding, asked: Asked, received: Body) -> Answer:
    """Every label of each text or pair, the best first. Words its refusals itself: the route is the native one."""
    try:
        return await _answered(served, _predict(served.loaded.model, received), asked)
    except InletError as error:
        return refuse(error)


def refuse(error: InletError) -> Answer:
    """An error as this protocol says it."""
    status, kind = _status(error)
    payload = answers.dump({"error": str(error), "error_type": kind})
    return replace(answers.from_error(error), status=status, body=payload)


def _status(error: InletError) -> tuple[int, str]:
    match error:
        case Empty():
            return 400, "Empty"
        case Unfit():
            return error.status, "Backend"
        case TooMany():
            return error.status, "Overloaded"
        case Unavailable():
            return error.status, "Unhealthy"
        case Invalid() if error.field is not None:  # a body that is no JSON object has no field
            return 422, "Validation"
        case Invalid() | TooLarge() | body.UnsupportedMediaType():
            return error.status, "Validation"
    return error.status, "Backend"


async def _computed(encoder: Encoding, routed: Routed, plan: Plan) -> Answer:
    return await _answered(encoder, plan(encoder.loaded.model, routed.body()), routed.asked)


async def _answered(encoder: Encoding, work: Work, asked: Asked) -> Answer:
    computed = await encoder.compute(work, asked)
    return timed(await encoder.written(lambda: work.answer(computed.rows), computed), computed, asked)


def _main_plan(routed: Routed) -> Plan:
    """What this protocol's `POST /` does with that model."""
    if routed.served.task == "sentence-similarity":
        return _similarity
    if routed.encoder().loaded.model.head is Head.HIDDEN:
        return _embed
    labels = routed.classifier().loaded.model.label_names
    return _rerank if len(labels) == 1 else _predict


def _limit(p: Fields, longest: int) -> Limit:
    clip = p.boolean("truncate", None)
    return Limit(
        longest, clip=clip is not False, side=p.choice("truncation_direction", ("left", "right"), "right")
    )


def _embed(model: Model, received: Body) -> Work:
    items = read_inputs(received.get("inputs"), "inputs", most=MAX_CLIENT_BATCH)
    p = Fields(received, _EMBED)
    return vectors(
        model,
        items,
        _limit(p, model.sentences.max_length),
        prompt_name=p.string("prompt_name", None),
        dimensions=read_dimensions(p, model),
        normalize=p.boolean("normalize", True),
    )


def _embed_all(model: Model, received: Body) -> Work:
    items: list[Text | Ids] = read_inputs(received.get("inputs"), "inputs", most=MAX_CLIENT_BATCH)
    p = Fields(received, _TRUNCATION | {"prompt_name"})
    limit = _limit(p, model.sentences.max_length)
    work = of_items(
        model, items, limit, prompt_name=p.string("prompt_name", None), reduce=lambda row, _: row.copy()
    )

    def encode() -> list[Encoded]:
        encoded = work.encode()
        numbers = sum(map(len, encoded)) * model.shape.hidden
        if numbers > MAX_NUMBERS:
            raise TooLarge(
                f"vectors for every token would be {numbers} numbers, more than {MAX_NUMBERS}; send fewer texts",
                field="inputs",
            )
        return encoded

    return replace(work, encode=encode)


def _similarity(model: Model, received: Body) -> Work:
    inputs = mapping(received.get("inputs"), "inputs")
    source = string(inputs.get("source_sentence"), "inputs.source_sentence")
    sentences = _texts(inputs.get("sentences"), MAX_CLIENT_BATCH - 1, "inputs.sentences")
    p = Fields(mapping(received.get("parameters"), "parameters"), _EMBED, prefix="parameters")
    limit = _limit(p, model.sentences.max_length)
    texts = [Text(source, "inputs.source_sentence"), *sentences]
    work = vectors(model, texts, limit, prompt_name=p.string("prompt_name", None))
    return replace(work, answer=lambda rows: [rows[0] @ row for row in rows[1:]])


def _rerank(model: Model, received: Body) -> Work:
    query = string(received.get("query"), "query")
    texts = [item.text for item in _texts(received.get("texts"), MAX_CLIENT_BATCH, "texts")]
    p = Fields(received, _PREDICT | {"return_text"})
    with_text = p.boolean("return_text", False)

    def answer(rows: list[FloatArray]) -> list[dict[str, Any]]:
        ranked = rerank.descending(rows)
        shown = {index: {"text": texts[index]} if with_text else {} for index, _ in ranked}
        return [{"index": index, "score": score, **shown[index]} for index, score in ranked]

    return replace(_scores(model, pairs(query, texts, "texts"), p), answer=answer)


def _predict(model: Model, received: Body) -> Work:
    inputs = received.get("inputs")
    batch = isinstance(inputs, list) and any(isinstance(item, list) for item in inputs)
    items = listed(inputs, "inputs", most=MAX_CLIENT_BATCH) if batch else [inputs]
    names = [f"inputs[{index}]" for index in range(len(items))] if batch else ["inputs"]
    texts = [_text_or_pair(item, name) for item, name in zip(items, names, strict=True)]

    def answer(rows: list[FloatArray]) -> list[Any]:
        labelled = [_labelled(model, row) for row in rows]
        return labelled if batch else labelled[0]

    return replace(_scores(model, texts, Fields(received, _PREDICT)), answer=answer)


def _scores(model: Model, texts: list[Text], p: Fields) -> Work:
    """The labels' scores of each text or pair."""
    count = len(model.label_names)
    raw = p.boolean("raw_scores", False)
    # A single score is always between 0 and 1 in this protocol.
    function = "none" if raw else function_of(None if count == 1 else model.labels.problem_type, count)
    limit = _limit(p, model.texts.max_length)
    return Work(
        texts,
        lambda: within(model.texts, texts, limit),
        lambda row, _: FUNCTIONS[function](row),
        lambda rows: rows,
    )


def _labelled(model: Model, scores: FloatArray) -> list[dict[str, Any]]:
    order = np.argsort(-scores, kind="stable").tolist()
    return [{"score": scores[index], "label": model.label_names[index]} for index in order]


def _text_or_pair(value: Any, field: str) -> Text:
    if isinstance(value, str):
        return _not_empty(value, field)
    texts = listed(value, field, most=2)
    first, *second = (string(text, f"{field}[{index}]") for index, text in enumerate(texts))
    return Text(first, field, *second)


def _texts(value: Any, most: int, field: str = "inputs") -> list[Text]:
    if isinstance(value, str):
        return [_not_empty(value, field)]
    return [
        Text(string(item, f"{field}[{index}]"), f"{field}[{index}]")
        for index, item in enumerate(listed(value, field, most=most))
    ]


def _not_empty(value: str, field: str) -> Text:
    if not value:
        raise Empty("must not be empty", field=field)
    return Text(string(value, field), field)


def _tokens(encoded: Encoded, *, specials: bool) -> list[dict[str, Any]]:
    source, text = encoded.source, encoded.text.text
    assert source is not None  # noqa: S101 - this route asks for it
    found = []
    rows = zip(encoded.ids.tolist(), source.tokens, source.offsets, source.special_tokens_mask, strict=True)
    for token, word, (start, stop), special in rows:
        if special and specials:
            found.append({"id": token, "text": word, "special": True, "start": None, "stop": None})
        elif not special:
            found.append(
                {"id": token, "text": text[start:stop], "special": False, "start": start, "stop": stop}
            )
    return found
