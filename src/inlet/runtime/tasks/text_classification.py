"""text-classification: one label, the best `top_k`, or all, for each text or pair of texts."""

from __future__ import annotations

from functools import partial
from typing import Any

from inlet.runtime.dialect import Request
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.model import Model
from inlet.runtime.scores import FUNCTIONS, function_of
from inlet.runtime.tasks.base import Work, read_texts
from inlet.runtime.tasks.labels import SHAPE_PARAMETERS, LabelShape
from inlet.runtime.tasks.parameters import Parameters
from inlet.runtime.texts import Encoded, Limit


class TextClassification:
    """Scores by the head that the model was trained with; the shapes of answers are those of `labels`."""

    name = "text-classification"
    parameters = SHAPE_PARAMETERS | {"function_to_apply", "truncation", "padding", "max_length"}
    inputs_at_root = ()

    def __init__(self, model: Model) -> None:
        self._model = model
        self._labels = model.label_names
        self._function = function_of(model.labels.problem_type, len(self._labels))

    def plan(self, request: Request) -> Work:
        texts, single = read_texts(request.inputs, pairs=True)
        p = Parameters(request.parameters, self.parameters)
        function = p.choice("function_to_apply", FUNCTIONS.keys(), self._function)
        shape = LabelShape.of(request, p, single=single)
        p.check_padding()
        given = p.integer("max_length", None, minimum=1)
        clip = p.truncation()
        if clip is None:
            clip = given is not None
        longest = self._model.texts.max_length
        limit = Limit(min(given or longest, longest) if clip else self._model.positions, clip=clip)

        def reduce(row: FloatArray, _: Encoded) -> list[dict[str, Any]]:
            return shape.row(FUNCTIONS[function](row), self._labels)

        return Work(texts, partial(self._model.texts.encode, texts, limit), reduce, shape.answer)
