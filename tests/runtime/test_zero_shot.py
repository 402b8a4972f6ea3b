"""zero-shot-classification: a real replica against transformers, both dialects, spellings, and bad inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inlet.core.errors import Refused
from inlet.runtime.artifact.corpus import corpus
from inlet.runtime.artifact.trial import Trial
from inlet.runtime.build.encoder import Head
from inlet.runtime.dialect import Shape, shapes_of
from inlet.runtime.model import open_model
from inlet.runtime.tasks import task_kind
from tests.reference import Reference
from tests.runtime.close import assert_close
from tests.runtime.process import HUB_CLIENT, Replica

Get = Callable[[str, str], Replica]
TASK = "zero-shot-classification"
LABELS = ["sport", "food", "weather"]
TEXT = "the team won the match"


def test_answers_are_those_of_the_reference(made: Reference, replica: Get) -> None:
    for case in made.of(TASK):
        got = replica(case.model, TASK).ask({"inputs": case.inputs, "parameters": case.parameters})
        assert_close(got, case.expected, where=f"{case.inputs!r:.60} {case.parameters}")


def test_every_spelling_gets_the_same_answer(replica: Get) -> None:
    statements = replica("statements", TASK)
    expected = statements.ask({"inputs": TEXT, "parameters": {"candidate_labels": LABELS}})
    assert sorted(expected["labels"]) == sorted(LABELS)
    for body in (
        {"inputs": TEXT, "candidate_labels": LABELS},
        {"inputs": TEXT, "parameters": {"candidateLabels": "sport,food, weather", "multi_class": False}},
        {"inputs": {"sequences": TEXT, "candidate_labels": LABELS}},
        {"inputs": {"text": TEXT}, "parameters": {"candidate_labels": LABELS, "multi_label": None}},
    ):
        assert statements.ask(body) == expected
    alone = statements.ask({"inputs": TEXT, "parameters": {"candidate_labels": LABELS, "multi_label": True}})
    assert alone != expected
    assert alone == statements.ask({"inputs": TEXT, "candidate_labels": LABELS, "multi_class": True})


def test_clients_that_expect_a_list_of_labels_get_one(replica: Get) -> None:
    statements, body = replica("statements", TASK), {"inputs": TEXT, "candidate_labels": LABELS}
    expected = statements.ask(body)
    listed = [
        {"label": label, "score": score}
        for label, score in zip(expected["labels"], expected["scores"], strict=True)
    ]
    assert statements.ask(body, **HUB_CLIENT) == listed
    for older in ("hf_hub/1.1.6", "hf_hub/0.36.0", "@huggingface/inference/4.13.30"):
        assert statements.ask(body, **{"user-agent": older}) == expected
    several = {**body, "inputs": [TEXT, TEXT]}
    assert statements.ask(several, **HUB_CLIENT) == [expected] * 2


@pytest.mark.parametrize(
    ("agent", "listed"),
    [
        ("unknown/None; hf_hub/1.1.7; python/3.11", True), ("hf_hub/1.2", True), ("hf_hub/2.4.0rc1", True), ("hf_hub/10", True),
        ("hf_hub/1.1.6", False), ("hf_hub/1", False), ("@huggingface/inference/4.13.30", False), ("hf_hub", False), ("", False),
    ],
)  # fmt: skip
def test_which_clients_these_are(agent: str, *, listed: bool) -> None:
    assert (Shape.LABEL_LIST in shapes_of(agent)) is listed


@pytest.mark.parametrize(
    ("inputs", "parameters", "status", "complaint"),
    [
        (TEXT, {}, 400, "parameters.candidate_labels: missing; send the labels to choose from"),
        (TEXT, {"candidate_labels": " , "}, 400, "parameters.candidate_labels: missing"),
        (TEXT, {"candidate_labels": ["a", 1]}, 400, "parameters.candidate_labels[1]: expected a string, got a number"),
        (TEXT, {"candidate_labels": LABELS, "hypothesis_template": "no place"}, 400, "parameters.hypothesis_template: must have one {}"),
        (TEXT, {"candidate_labels": LABELS, "hypothesis_template": "{0.__class__}"}, 400, "parameters.hypothesis_template: must"),
        (TEXT, {"candidate_labels": ["word " * 100]}, 400, "inputs: what it is paired with leaves none of the 64 tokens"),
        ([TEXT] * 101, {"candidate_labels": ["a"] * 100}, 413, "parameters.candidate_labels: 10100 pairs of texts, more than 10000"),
        ("x" * 600_000, {"candidate_labels": ["a"] * 20}, 413, "parameters.candidate_labels: the pairs of texts would have"),
        ({"sequence": TEXT}, {"candidate_labels": LABELS}, 400, "inputs.text: expected a string or a list of strings, got null"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    replica: Get, inputs: Any, parameters: dict[str, Any], status: int, complaint: str
) -> None:
    answer = replica("statements", TASK).post({"inputs": inputs, "parameters": parameters})
    assert answer.status_code == status
    assert complaint in answer.json()["error"]


def test_a_model_that_compares_no_statements_is_refused(made: Reference) -> None:
    model = open_model(made.model("topics"), task=TASK, head=Head.SEQUENCE)
    with pytest.raises(Refused, match='labels are sport, food, weather: none begins with "entail"'):
        task_kind(TASK).make(model)


@pytest.mark.parametrize(
    ("name", "pairs"), [("statements", True), ("ranker", True), ("topics", False), ("rating", False)]
)
def test_the_gate_asks_for_pairs_where_a_model_reads_them(made: Reference, name: str, *, pairs: bool) -> None:
    model = open_model(made.model(name), task="text-classification", head=Head.SEQUENCE)
    trial = Trial.of(model, corpus(), lambda _: None)
    assert {item.text.pair is not None for item in trial.encoded} == {pairs}
