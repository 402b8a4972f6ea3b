"""text-ranking: how well texts fit a query, by a model that reads both together (a cross-encoder).

`["query", "text"]` answers `{"scores": number}`, a list of pairs `{"scores": [numbers]}`, and `{"query": …, "texts": […]}` a
list of `{score, index}`, best first. Both dialects are alike.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from inlet.core.errors import Invalid, Refused
from inlet.runtime.dialect import Request, kind
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.model import Model
from inlet.runtime.scores import FUNCTIONS
from inlet.runtime.tasks.base import Work, check_pairs, read_texts
from inlet.runtime.tasks.parameters import Parameters
from inlet.runtime.texts import Encoded, Limit, Text

_RETURN = ("return_documents", "return_text")
# By the class that the model names, as sentence-transformers knows it; without a name the first.
_FUNCTIONS = {"Sigmoid": "sigmoid", "Identity": "none"}


class TextRanking:
    """Pairs that are too long are clipped unless the caller forbids it."""

    name = "text-ranking"
    parameters = frozenset({*_RETURN, "raw_scores", "truncate", "truncation_direction"})
    inputs_at_root = ("query", "texts")

    def __init__(self, model: Model) -> None:
        self._model = model
        if len(model.label_names) != 1:
            raise Refused(
                f"the model has {len(model.label_names)} labels, and a model for text-ranking has one; it can do "
                "text-classification",
                field="task",
            )
        activation = model.labels.activation or "Sigmoid"
        if activation not in _FUNCTIONS:
            raise Refused(
                f"config.json names {activation} for the scores; supported: {', '.join(_FUNCTIONS)}",
                field="task",
            )
        self._function = _FUNCTIONS[activation]

    def plan(self, request: Request) -> Work:
        inputs = request.inputs
        p = Parameters(request.parameters, self.parameters)
        function = "none" if p.boolean("raw_scores", False) else self._function
        limit = Limit(
            self._model.texts.max_length,
            clip=p.boolean("truncate", True),
            side=p.choice("truncation_direction", ("left", "right"), "right"),
        )
        if isinstance(inputs, dict):
            pairs = _query_and_texts(inputs)
            documents = any(_wants_text(inputs, p, name) for name in _RETURN)
            answer = partial(_ranking, pairs, documents=documents)
        else:
            pairs, single = _pairs(inputs)
            answer = partial(_scores, single=single)

        def reduce(row: FloatArray, _: Encoded) -> np.float32:
            return np.float32(FUNCTIONS[function](row)[0])

        return Work(pairs, partial(self._model.texts.encode, pairs, limit), reduce, answer)


def _query_and_texts(inputs: dict[str, Any]) -> list[Text]:
    query, texts = inputs.get("query"), inputs.get("texts")
    if not isinstance(query, str):
        raise Invalid(f"expected a string, got {kind(query)}", field="inputs.query")
    if not isinstance(texts, list):
        raise Invalid(f"expected a list of strings, got {kind(texts)}", field="inputs.texts")
    read_texts(query, field="inputs.query")
    found, _ = read_texts(texts, field="inputs.texts")
    check_pairs(len(found), sum(len(query) + len(text.text) for text in found), "inputs.texts")
    return [Text(query, text.field, text.text) for text in found]


def _wants_text(inputs: dict[str, Any], p: Parameters, name: str) -> bool:
    """It may stand in `inputs`, as in the stock container, or with the parameters."""
    inside = Parameters({name: inputs.get(name)}, {name}, prefix="inputs")
    return inside.boolean(name, False) or p.boolean(name, False)


def _pairs(inputs: Any) -> tuple[list[Text], bool]:
    """The pairs, and whether it is one by itself."""
    if not isinstance(inputs, list):
        raise Invalid(
            f'expected ["query", "text"], a list of such pairs, or {{"query": string, "texts": [string, …]}}, got {kind(inputs)}',
            field="inputs",
        )
    if inputs and all(isinstance(item, str) for item in inputs):
        return [_pair(inputs, "inputs")], True
    check_pairs(len(inputs), 0, "inputs")
    return [_pair(item, f"inputs[{index}]") for index, item in enumerate(inputs)], False


def _pair(value: Any, field: str) -> Text:
    if not (isinstance(value, list) and len(value) == 2):
        got = f"{len(value)} of them" if isinstance(value, list) else kind(value)
        raise Invalid(f"expected a query and a text, got {got}", field=field)
    (first, second), _ = read_texts(value, field=field)
    return Text(first.text, field, second.text)


def _scores(rows: list[Any], *, single: bool) -> Any:
    return {"scores": rows[0] if single else rows}


def _ranking(pairs: list[Text], rows: list[Any], *, documents: bool) -> Any:
    order = np.argsort([-row for row in rows], kind="stable").tolist()
    return [
        {"score": rows[index], "index": index, **({"text": pairs[index].pair} if documents else {})}
        for index in order
    ]
