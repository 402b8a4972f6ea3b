"""The real InferenceClient against a real replica on a port, for the tasks that read questions, labels and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import InferenceClient

from tests.reference import Reference
from tests.runtime.test_client import client


@pytest.mark.parametrize(
    ("model", "task", "ask", "expected"),
    [
        ("answers", "question-answering",
         lambda real: real.question_answering(question="where is it ?", context="Maria lives in Lisbon .", align_to_words=True).answer,
         "Lisbon"),
        ("statements", "zero-shot-classification",
         lambda real: [item.label for item in real.zero_shot_classification("the team won", ["sport", "food"], multi_label=False)],
         ["sport", "food"]),
        ("words", "fill-mask",
         lambda real: [item.token_str for item in real.fill_mask("the [MASK] won", targets=["team", "soup"], top_k=2)],
         ["team", "soup"]),
    ],
)  # fmt: skip
def test_the_official_client_understands(
    made: Reference, model: str, task: str, ask: Callable[[InferenceClient], Any], expected: Any
) -> None:
    with client(made, model, task) as real:
        assert ask(real) == expected
