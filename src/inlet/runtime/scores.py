"""Logits to scores, as the reference does it. Used by the classification tasks and by the fidelity gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from inlet.runtime.engines.base import FloatArray


def softmax(logits: FloatArray) -> FloatArray:
    """Over the last axis, in float32 like the reference."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Each number on its own, in float32 like the reference."""
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and 1 / (1 + inf) is rightly 0
        return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)


FUNCTIONS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": lambda logits: logits.copy(),
}


def function_of(problem_type: str | None, labels: int) -> str:
    """The function of a text classifier, by what its configuration says and how many labels it has."""
    if problem_type == "regression":
        return "none"
    return "sigmoid" if problem_type == "multi_label_classification" or labels == 1 else "softmax"
