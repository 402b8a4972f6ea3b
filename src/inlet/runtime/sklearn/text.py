"""text-classification by a scikit-learn pipeline that begins with a vectoriser. Called by `calls`.

Requests and shapes of answers are those of the encoders' text-classification, but for pairs of texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from inlet.core.errors import Refused
from inlet.runtime import answers, body
from inlet.runtime.dialect import normalise
from inlet.runtime.serving import Asked
from inlet.runtime.sklearn.failures import refusing
from inlet.runtime.sklearn.warming import warm
from inlet.runtime.tasks.base import read_texts
from inlet.runtime.tasks.labels import SHAPE_PARAMETERS, LabelShape
from inlet.runtime.tasks.parameters import Parameters

if TYPE_CHECKING:
    from inlet.runtime.sklearn.opening import Opened


class TextPredictor:
    """One pipeline on texts; `Refused` if it gives no probabilities."""

    task = "text-classification"

    def __init__(self, opened: Opened) -> None:
        self._opened, estimator = opened, opened.estimator
        classes = getattr(estimator, "classes_", None)
        if not hasattr(estimator, "predict_proba") or not isinstance(classes, np.ndarray):
            raise Refused(
                f"{type(estimator).__name__} gives no probabilities, which text-classification answers with: end the pipeline "
                "with a model that has `predict_proba`, or wrap it in sklearn.calibration.CalibratedClassifierCV",
                field="task",
            )
        self._labels = tuple(map(str, classes.tolist()))

    def warm_up(self) -> None:
        warm(lambda: self._scores(["ready"]), self._opened)

    def answer(self, asked: Asked) -> bytes:
        request = normalise(
            body.parse(asked.content, asked.headers),
            known=SHAPE_PARAMETERS,
            inputs_at_root=(),
            query=asked.query,
            dialect=asked.dialect,
        )
        texts, single = read_texts(request.inputs)
        shape = LabelShape.of(request, Parameters(request.parameters, SHAPE_PARAMETERS), single=single)
        scores = self._scores([text.text for text in texts]) if texts else ()
        return answers.dump(shape.answer([shape.row(row, self._labels) for row in scores]))

    def describe(self) -> Mapping[str, Any]:
        return {**self._opened.describe(), "labels": self._labels}

    def _scores(self, texts: list[str]) -> Any:
        with refusing("inputs", lambda: None):
            return self._opened.estimator.predict_proba(texts)
