"""text-classification: one label, the best `top_k`, or all, for each text or pair of texts."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from inlet.runtime.dialect import Dialect, Request
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.model import Model
from inlet.runtime.scores import FUNCTIONS, function_of
from inlet.runtime.tasks.base import Work, read_texts
from inlet.runtime.tasks.parameters import Parameters
from inlet.runtime.texts import Encoded, Limit

_API_TOP_K = 5  # what the client libraries expect when they ask for nothing


class TextClassification:
    """`toolkit`: `[L]`, or `[L, …]` with `top_k`; lists give one item per text. `api`: always lists of lists."""

    name = "text-classification"
    parameters = frozenset(
        {"top_k", "function_to_apply", "truncation", "padding", "max_length", "return_all_scores"}
    )
    inputs_at_root = ()

    def __init__(self, model: Model) -> None:
        self._model = model
        self._labels = model.label_names
        self._function = function_of(model.labels.problem_type, len(self._labels))

    def plan(self, request: Request) -> Work:
        texts, single = read_texts(request.inputs, pairs=True)
        p = Parameters(request.parameters, self.parameters)
        function = p.choice("function_to_apply", FUNCTIONS.keys(), self._function)
        top_k = p.integer("top_k", None, minimum=1)
        by_index = p.boolean("return_all_scores", False) and "top_k" not in p
        p.check_padding()
        given = p.integer("max_length", None, minimum=1)
        clip = p.truncation()
        if clip is None:
            clip = given is not None
        longest = self._model.texts.max_length
        limit = Limit(min(given or longest, longest) if clip else self._model.positions, clip=clip)
        # A plain text without top_k gets the best label only, in a shape of its own.
        best_only = "top_k" not in p and not by_index
        api = request.dialect is Dialect.API
        if best_only:
            top_k = _API_TOP_K if api and single else 1

        def reduce(row: FloatArray, _: Encoded) -> list[dict[str, Any]]:
            scores = FUNCTIONS[function](row)
            order = range(len(scores)) if by_index else np.argsort(-scores, kind="stable")[:top_k].tolist()
            return [{"label": self._labels[index], "score": scores[index]} for index in order]

        def answer(rows: list[list[dict[str, Any]]]) -> Any:
            if api or by_index:
                return rows
            if best_only:
                return [row[0] for row in rows]
            return rows[0] if single else rows

        return Work(texts, partial(self._model.texts.encode, texts, limit), reduce, answer)
