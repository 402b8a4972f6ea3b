"""tabular-classification and tabular-regression: a row of a table in, a label or a number out. Called by `calls`.

Answers are the same in both dialects: `[label, …]` or `[number, …]`, one per row, lists of these where the model has several
outputs; with `probabilities` a list of `{"label", "score"}` per row, in the order of the model's classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from email.message import Message
from typing import TYPE_CHECKING, Any

import numpy as np

from inlet.core.errors import Invalid
from inlet.runtime import answers, body
from inlet.runtime.dialect import normalise
from inlet.runtime.serving import Asked
from inlet.runtime.sklearn.columns import Columns
from inlet.runtime.sklearn.failures import refusing
from inlet.runtime.sklearn.table import Table, read_csv, read_table
from inlet.runtime.sklearn.warming import warm
from inlet.runtime.tasks.parameters import Parameters

if TYPE_CHECKING:
    from inlet.runtime.sklearn.opening import Opened

_CLASSIFICATION, _PROBABLE = "tabular-classification", "predict_proba"


class TabularPredictor:
    """One model on tables."""

    def __init__(self, opened: Opened, task: str) -> None:
        self._opened, self._estimator, self.task = opened, opened.estimator, task
        self._columns = Columns.of(opened.estimator, opened.settings)
        self.parameters = frozenset({"probabilities"} if task == _CLASSIFICATION else ())
        # Names are checked here, so arrays without them are meant. For the whole process: it serves nothing else.
        warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)

    def warm_up(self) -> None:
        example = self._opened.settings.get("example_input")
        count = self._columns.count
        if example is None and count is None:
            return
        inputs = [[0.0] * count] if example is None and count is not None else example
        warm(lambda: self._predict(read_table(inputs), self._estimator.predict), self._opened)

    def answer(self, asked: Asked) -> bytes:
        table, parameters = self._read(asked)
        if Parameters(parameters, self.parameters).boolean("probabilities", False):
            return answers.dump(self._probabilities(table))
        return answers.dump(_plain(self._predict(table, self._estimator.predict)))

    def describe(self) -> Mapping[str, Any]:
        classes = getattr(self._estimator, "classes_", None)
        return {
            **self._opened.describe(),
            "columns": self._columns.names,
            "column_count": self._columns.count,
            "labels": _plain(classes) if isinstance(classes, np.ndarray) else None,
            "probabilities": self.task == _CLASSIFICATION and self._probable,
        }

    def _read(self, asked: Asked) -> tuple[Table, Mapping[str, Any]]:
        text = body.csv_text(asked.content, asked.headers)
        request = normalise(
            body.parse(asked.content, asked.headers) if text is None else {"inputs": text},
            known=self.parameters,
            inputs_at_root=("table",),
            query=asked.query,
            dialect=asked.dialect,
        )
        if text is None:
            return read_table(request.inputs), request.parameters
        header = _header(asked.headers["content-type"])
        return read_csv(text, header=header, own=self._columns.names or ()), request.parameters

    def _predict(self, table: Table, function: Callable[[Any], Any]) -> Any:
        matrix = self._columns.matrix(table)
        with refusing(table.root, lambda: self._columns.missing(table)):
            return function(matrix)

    def _probabilities(self, table: Table) -> list[Any]:
        if not self._probable:
            why = "has several outputs" if hasattr(self._estimator, _PROBABLE) else "gives no probabilities"
            raise Invalid(
                f"{type(self._estimator).__name__} {why}; leave it out", field="parameters.probabilities"
            )
        labels = _plain(self._estimator.classes_)
        return [
            [{"label": label, "score": score} for label, score in zip(labels, row, strict=True)]
            for row in self._predict(table, self._estimator.predict_proba).tolist()
        ]

    @property
    def _probable(self) -> bool:
        """Whether it gives every label a probability."""
        classes = getattr(self._estimator, "classes_", None)
        return hasattr(self._estimator, _PROBABLE) and isinstance(classes, np.ndarray)


def _header(content_type: str) -> bool | None:
    """Whether CSV begins with a line of names, as its type may say (RFC 4180)."""
    message = Message()
    message["content-type"] = content_type
    return {"present": True, "absent": False}.get(str(message.get_param("header", "")).lower())


def _plain(values: Any) -> Any:
    """Numbers, strings and lists of them, from whatever array the model answered with."""
    dense = values.toarray() if hasattr(values, "toarray") else values
    return np.asarray(dense).tolist()
