"""zero-shot-classification: which of a request's own labels fits a text, by a model that compares two statements.

Each text meets each label, put into a sentence (`hypothesis_template`); the labels' scores are those of "it follows".
Answers `{sequence, labels, scores}`, best first, one for each text of a list. To one text, client libraries that expect
it get a list of labels instead.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from inlet.core.errors import Invalid, Refused
from inlet.runtime.dialect import Request, Shape
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.model import Model
from inlet.runtime.scores import softmax
from inlet.runtime.tasks.base import Work, check_pairs, read_texts
from inlet.runtime.tasks.parameters import Parameters
from inlet.runtime.texts import Encoded, Limit, Text

_LABELS = ("candidate_labels", "candidateLabels")
_PLACE = "{}"
_TEMPLATE = "This example is {}."


class ZeroShotClassification:
    """Too long texts are clipped, never the labels."""

    name = "zero-shot-classification"
    parameters = frozenset({*_LABELS, "multi_label", "multi_class", "hypothesis_template"})
    inputs_at_root = ()

    def __init__(self, model: Model) -> None:
        self._model = model
        entailment = model.entailment
        if entailment is None or len(model.label_names) < 2:
            raise Refused(
                f'the model\'s labels are {", ".join(model.label_names)}: none begins with "entail", so it does not compare '
                "statements and cannot do zero-shot-classification",
                field="task",
            )
        self._entailment, self._contradiction = entailment, -1 if entailment == 0 else 0

    def plan(self, request: Request) -> Work:
        texts, single = _texts(request.inputs)
        inside = request.inputs if isinstance(request.inputs, dict) else {}
        labels_inside = {name: inside[name] for name in _LABELS if name in inside}
        p = Parameters({**labels_inside, **request.parameters}, self.parameters)
        labels = _labels(p)
        template = _template(p)
        multi = p.boolean("multi_label", None)
        if multi is None:
            multi = p.boolean("multi_class", False)
        hypotheses = [template.replace(_PLACE, label) for label in labels]
        check_pairs(
            len(texts) * len(labels),
            len(labels) * sum(len(text.text) for text in texts) + len(texts) * sum(map(len, hypotheses)),
            "parameters.candidate_labels",
        )
        pairs = [Text(text.text, text.field, hypothesis) for text in texts for hypothesis in hypotheses]
        alone = bool(multi) or len(labels) == 1
        bare = single and Shape.LABEL_LIST in request.shapes

        def answer(rows: list[FloatArray]) -> Any:
            found = [
                self._ranked(text, labels, np.array(rows[start : start + len(labels)]), alone=alone)
                for text, start in zip(texts, range(0, len(rows), len(labels)), strict=True)
            ]
            if bare:
                return [
                    {"label": label, "score": score}
                    for label, score in zip(found[0]["labels"], found[0]["scores"], strict=True)
                ]
            return found[0] if single else found

        limit = Limit(self._model.texts.max_length, clip=True, first_only=True)
        return Work(pairs, partial(self._model.texts.encode, pairs, limit), _copy, answer)

    def _ranked(self, text: Text, labels: list[str], logits: FloatArray, *, alone: bool) -> dict[str, Any]:
        """`alone`: each label against its own contradiction, else against the other labels."""
        if alone:
            scores = softmax(logits[:, [self._contradiction, self._entailment]])[:, 1]
        else:
            scores = softmax(logits[:, self._entailment])
        order = np.argsort(scores, kind="stable")[::-1]
        return {
            "sequence": text.text,
            "labels": [labels[index] for index in order],
            "scores": scores[order],
        }


def _texts(inputs: Any) -> tuple[list[Text], bool]:
    if isinstance(inputs, dict):
        name = "sequences" if "sequences" in inputs else "text"
        return read_texts(inputs.get(name), field=f"inputs.{name}")
    return read_texts(inputs)


def _labels(p: Parameters) -> list[str]:
    labels = p.listed(next((name for name in _LABELS if p.has_value(name)), _LABELS[0]))
    if not labels:
        raise Invalid(
            'missing; send the labels to choose from, like "parameters": {"candidate_labels": ["refund", "complaint"]}',
            field="parameters.candidate_labels",
        )
    return labels


def _template(p: Parameters) -> str:
    template = p.string("hypothesis_template", _TEMPLATE)
    if template.count(_PLACE) != 1:
        raise Invalid(
            f"must have one {_PLACE}, where the label goes, like {_TEMPLATE!r}",
            field="parameters.hypothesis_template",
        )
    return template


def _copy(row: FloatArray, _: Encoded) -> FloatArray:
    return row.copy()
