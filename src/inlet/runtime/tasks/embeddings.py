"""feature-extraction, sentence-similarity and sentence-embeddings: hidden states, pooled or as they are.

feature-extraction answers in one of two ways. *Token vectors*, as the stock container does: `[1][tokens][hidden]` in the
`toolkit` dialect, without the leading axis in the `api` dialect. *Pooled*, `[[f]]`, as embedding servers do: when the
model declares its pooling (sentence-transformers files) and the caller speaks the `api` dialect or sends one of the
fields that only make sense for pooled vectors (`normalize`, `truncate`, `truncation_direction`, `prompt_name`,
`dimensions`, `encoding_format`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from inlet.core.errors import Invalid, TooLarge
from inlet.runtime.dialect import Dialect, Request, kind
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.model import Model
from inlet.runtime.pooling import normalised
from inlet.runtime.tasks.base import Work, read_texts
from inlet.runtime.tasks.parameters import Parameters
from inlet.runtime.texts import Encoded, Limit, Text

MAX_NUMBERS = 20_000_000  # in one answer of token vectors: 80 MB, and some 250 MB of JSON
_TOKENIZE = frozenset({"truncation", "max_length", "padding"})
_ONLY_POOLED = frozenset({"normalize", "prompt_name", "dimensions", "encoding_format"})
_POOLED = _ONLY_POOLED | {"truncate", "truncation_direction"}


class FeatureExtraction:
    """See the module: token vectors or pooled ones. Too long texts are clipped unless the caller forbids it."""

    name = "feature-extraction"
    parameters = _TOKENIZE | _POOLED | {"tokenize_kwargs"}
    inputs_at_root = ()

    def __init__(self, model: Model) -> None:
        self._model = model

    def plan(self, request: Request) -> Work:
        texts, single = read_texts(request.inputs)
        p = Parameters(request.parameters, self.parameters)
        asked = sorted(name for name in _POOLED if p.has_value(name))
        if self._model.pooling.declared:
            if asked or request.dialect is Dialect.API:
                return self._pooled(texts, p)
        elif unfit := _ONLY_POOLED.intersection(asked):
            raise Invalid(
                "this model says nothing about pooling (no modules.json), so it answers one vector per token and has "
                "no such parameter",
                field=f"parameters.{min(unfit)}",
            )
        return self._token_vectors(texts, p, single=single, api=request.dialect is Dialect.API)

    def _token_vectors(self, texts: Sequence[Text], p: Parameters, *, single: bool, api: bool) -> Work:
        def answer(rows: list[FloatArray]) -> Any:
            items = rows if api else [row[None] for row in rows]
            return items[0] if single else items

        limit = _limit(p, self._model.texts.max_length)

        def encode() -> list[Encoded]:
            encoded = self._model.texts.encode(texts, limit)
            numbers = sum(map(len, encoded)) * self._model.shape.hidden
            if numbers > MAX_NUMBERS:
                raise TooLarge(
                    f"vectors for every token would be {numbers} numbers, more than {MAX_NUMBERS}; send fewer texts in "
                    "one request",
                    field="inputs",
                )
            return encoded

        return Work(texts, encode, _copy, answer)

    def _pooled(self, texts: Sequence[Text], p: Parameters) -> Work:
        pooling = self._model.pooling
        if p.choice("encoding_format", ("float", "base64"), "float") == "base64":
            raise Invalid('only "float" is supported here', field="parameters.encoding_format")
        normalize = p.boolean("normalize", True)
        dimensions = p.integer("dimensions", None, minimum=1)
        width = pooling.width(self._model.shape.hidden)
        if dimensions is not None and dimensions > width:
            raise Invalid(f"the model has {width}", field="parameters.dimensions")
        limit = _limit(p, self._model.sentences.max_length)
        prompted = _prompted(self._model, texts, p)

        def reduce(row: FloatArray, _: Encoded) -> FloatArray:
            vector = pooling.pool(row)[:dimensions]
            return normalised(vector) if normalize else vector

        return Work(texts, partial(self._model.sentences.encode, prompted, limit), reduce, lambda rows: rows)


class SentenceSimilarity:
    """Cosine similarity of one sentence to several. `toolkit`: `{"similarities": […]}`, `api`: the bare list."""

    name = "sentence-similarity"
    parameters = frozenset({"truncate", "truncation_direction", "prompt_name"})
    inputs_at_root = ("source_sentence", "sentences")

    def __init__(self, model: Model) -> None:
        self._model = model

    def plan(self, request: Request) -> Work:
        inputs = request.inputs
        if not isinstance(inputs, dict):
            raise Invalid(
                f'expected {{"source_sentence": string, "sentences": [string, …]}}, got {kind(inputs)}',
                field="inputs",
            )
        source, sentences = inputs.get("source_sentence"), inputs.get("sentences")
        if not isinstance(source, str):
            raise Invalid(f"expected a string, got {kind(source)}", field="inputs.source_sentence")
        if not isinstance(sentences, list):
            raise Invalid(f"expected a list of strings, got {kind(sentences)}", field="inputs.sentences")
        texts = [
            *read_texts(source, field="inputs.source_sentence")[0],
            *read_texts(sentences, field="inputs.sentences")[0],
        ]

        def answer(rows: list[FloatArray]) -> Any:
            scores = [rows[0] @ row for row in rows[1:]]
            return scores if request.dialect is Dialect.API else {"similarities": scores}

        p = Parameters(request.parameters, self.parameters)
        return _sentence_work(self._model, texts, p, normalised, answer)


class SentenceEmbeddings:
    """Pooled vectors as sentence-transformers makes them. `toolkit`: `{"embeddings": …}`, `api`: bare."""

    name = "sentence-embeddings"
    parameters = frozenset({"truncate", "truncation_direction", "prompt_name", "normalize"})
    inputs_at_root = ("sentences",)

    def __init__(self, model: Model) -> None:
        self._model = model

    def plan(self, request: Request) -> Work:
        inputs, field = request.inputs, "inputs"
        if isinstance(inputs, dict):
            inputs, field = inputs.get("sentences"), "inputs.sentences"
        texts, single = read_texts(inputs, field=field)
        p = Parameters(request.parameters, self.parameters)
        normalize = p.boolean("normalize", self._model.pooling.normalize)

        def answer(rows: list[FloatArray]) -> Any:
            vectors = rows[0] if single else rows
            return vectors if request.dialect is Dialect.API else {"embeddings": vectors}

        return _sentence_work(
            self._model, texts, p, lambda vector: normalised(vector) if normalize else vector, answer
        )


def _sentence_work(
    model: Model,
    texts: Sequence[Text],
    p: Parameters,
    finish: Callable[[FloatArray], FloatArray],
    answer: Callable[[list[FloatArray]], Any],
) -> Work:
    limit = _limit(p, model.sentences.max_length)
    encode = partial(model.sentences.encode, _prompted(model, texts, p), limit)
    return Work(texts, encode, lambda row, _: finish(model.pooling.pool(row)), answer)


def _limit(p: Parameters, longest: int) -> Limit:
    """Clip at the model's own maximum, or earlier on `max_length`; refuse instead when the caller said so."""
    inner = p.within("tokenize_kwargs", _TOKENIZE)
    wishes = (p.truncation(), p.truncation("truncate"), inner.truncation())
    for source in (p, inner):
        source.check_padding()
        longest = min(longest, source.integer("max_length", longest, minimum=1))
    side = p.choice("truncation_direction", ("left", "right"), "right")
    return Limit(longest, clip=False not in wishes, side=side)


def _prompted(model: Model, texts: Sequence[Text], p: Parameters) -> Sequence[Text]:
    prompt = model.pooling.prompt(p.string("prompt_name", None))
    return [Text(prompt + text.text, text.field) for text in texts] if prompt else texts


def _copy(row: FloatArray, _: Encoded) -> FloatArray:
    return row.copy()
