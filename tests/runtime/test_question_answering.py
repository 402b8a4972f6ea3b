"""question-answering: a real replica against transformers 4, the spellings of old clients, bad inputs, and the gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inlet.core.errors import Refused
from inlet.runtime.artifact.corpus import corpus
from inlet.runtime.artifact.figures import Judged
from inlet.runtime.artifact.trial import Trial
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.base import Variant
from inlet.runtime.model import open_model
from tests.reference import Reference
from tests.runtime.close import assert_close
from tests.runtime.process import HUB_CLIENT, Replica

Get = Callable[[str, str], Replica]
TASK = "question-answering"
ONE = {"question": "where is it ?", "context": "the office of Globex is in Lisbon"}


def test_answers_are_those_of_the_reference(made: Reference, replica: Get) -> None:
    cases = made.of(TASK)
    for case in cases:
        got = replica(case.model, TASK).ask({"inputs": case.inputs, "parameters": case.parameters})
        assert_close(got, case.expected, where=f"{case.model} {case.inputs!r:.60} {case.parameters}")
    best = {
        case.expected["answer"] for case in cases if case.model == "answers" and "answer" in case.expected
    }
    assert {"Paris", "Anna Petrova", "Globex"} <= best  # the model has learnt what it answers


def test_every_spelling_gets_the_same_answer(replica: Get) -> None:
    answers = replica("answers", TASK)
    expected = answers.ask({"inputs": ONE})
    assert set(expected) == {"score", "start", "end", "answer"}
    assert ONE["context"][expected["start"] : expected["end"]] == expected["answer"]
    for body in (
        {**ONE},
        {"inputs": None, "parameters": {}, **ONE},
        {"inputs": ONE, "parameters": {"top_k": 1}},
    ):
        assert answers.ask(body) == expected
        assert answers.ask(body, **HUB_CLIENT) == expected
    several = {"question": [ONE["question"]] * 2, "context": ONE["context"]}
    for inputs in ([ONE, ONE], several, {**several, "context": [ONE["context"]] * 2}):
        assert answers.ask({"inputs": inputs}) == [expected] * 2
    assert answers.ask({"inputs": [ONE]}) == [expected]


def test_a_long_question_is_clipped_where_the_caller_says(replica: Get) -> None:
    answers, inputs = replica("answers", TASK), {**ONE, "question": "where is it ? " * 30}
    refused = answers.post({"inputs": inputs})
    assert refused.status_code == 400
    assert "inputs.question: 120 tokens leave no room" in refused.json()["error"]
    clipped = answers.ask({"inputs": inputs, "parameters": {"max_question_len": 4}})
    assert clipped == answers.ask({"inputs": ONE})


@pytest.mark.parametrize(
    ("inputs", "parameters", "status", "complaint"),
    [
        ("x", {}, 400, 'inputs: expected {"question": string, "context": string}, or a list of such objects, got a string'),
        ({"question": "x"}, {}, 400, "inputs.context: expected a string, got null"),
        ({"question": "", "context": "x"}, {}, 400, "inputs.question: must not be empty"),
        ([ONE, {"question": "x", "context": 5}], {}, 400, "inputs[1].context: expected a string, got a number"),
        ({"question": ["x", "y"], "context": ["x"]}, {}, 400, "inputs.context: expected a string or as many"),
        ({"question": ["x"] * 10_001, "context": "x"}, {}, 413, "inputs.question: 10001 pairs of texts, more than 10000"),
        ({"question": ["x"] * 100, "context": "x" * 100_001}, {}, 413, "inputs.question: the pairs of texts would have"),
        ([ONE] * 10_001, {}, 413, "inputs: 10001 pairs of texts, more than 10000"),
        (ONE, {"top_k": 0}, 400, "parameters.top_k: must be at least 1, got 0"),
        (ONE, {"top_k": 101}, 400, "parameters.top_k: must be at most 100, got 101"),
        (ONE, {"max_answer_len": 0}, 400, "parameters.max_answer_len: must be at least 1, got 0"),
        (ONE, {"max_seq_len": 73}, 400, "parameters.max_seq_len: must be at most 72, got 73"),
        (ONE, {"doc_stride": 60}, 400, "parameters.doc_stride: must be less than 57"),
        ({**ONE, "context": "a b " * 20_000}, {"doc_stride": 56}, 413, "more than 1000000 tokens; share fewer"),
        (ONE, {"topk": 1}, 400, "parameters.topk: this task has no such parameter"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    replica: Get, inputs: Any, parameters: dict[str, Any], status: int, complaint: str
) -> None:
    answer = replica("answers", TASK).post({"inputs": inputs, "parameters": parameters})
    assert answer.status_code == status
    assert complaint in answer.json()["error"]


@pytest.mark.parametrize(
    ("model", "reason"), [("topics", "it does text-classification"), ("bare", "no qa_outputs")]
)
def test_another_model_is_refused(made: Reference, model: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        open_model(made.model(model), task=TASK, head=Head.ANSWER)


def test_the_gate_judges_where_answers_begin_and_end(made: Reference) -> None:
    model = open_model(made.model("answers"), task=TASK, head=Head.ANSWER)
    trial = Trial.of(model, corpus(), lambda _: None)
    assert trial.kind is Judged.SPANS
    graph = model.graph()
    lane, other = (graph.compile(Variant("openvino", "fp32"), threads=1).lanes()[0] for _ in range(2))
    rows = trial.run(lane)
    assert all(row.shape[1] == 2 for row in rows)
    same = trial.judge(other, rows)
    assert same.passed, same.reasons
    assert "tokens" in same.worst[0].reference
    shifted = [row[::-1].copy() for row in rows]
    assert not trial.judge(other, shifted).passed
