"""text-ranking: a real replica against transformers, each form of inputs, what the model says of its scores, bad inputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inlet.core.errors import Refused
from inlet.core.tasks import guess_task
from inlet.runtime.build.encoder import Head
from inlet.runtime.dialect import Dialect, Request
from inlet.runtime.model import open_model
from inlet.runtime.tasks import canonical, task_kind
from tests.reference import Reference
from tests.runtime.close import assert_close
from tests.runtime.process import HUB_CLIENT, Replica

Get = Callable[[str, str], Replica]
TASK = "text-ranking"
TEXTS = ["a spicy soup", "the team won the match", "heavy rain"]


def test_scores_are_those_of_the_reference(made: Reference, replica: Get) -> None:
    (case,) = made.of(TASK)
    ranker = replica(case.model, TASK)
    for headers in ({}, HUB_CLIENT):
        assert_close(ranker.ask({"inputs": case.inputs}, **headers), case.expected)
    assert_close(ranker.ask({"inputs": case.inputs[0]}), {"scores": case.expected["scores"][0]})
    assert canonical("sentence-ranking") == TASK
    assert ranker.post({"inputs": case.inputs[0]}, "/pipeline/sentence-ranking").status_code == 200


def test_texts_are_ranked_for_a_query(replica: Get) -> None:
    ranker, inputs = replica("ranker", TASK), {"query": "This example is sport.", "texts": TEXTS}
    scores = ranker.ask({"inputs": [[inputs["query"], text] for text in TEXTS]})["scores"]
    order = sorted(range(3), key=lambda index: -scores[index])
    expected = [{"score": scores[index], "index": index} for index in order]
    for body in ({"inputs": inputs}, inputs, {"inputs": None, "parameters": {}, **inputs}):
        assert ranker.ask(body) == expected
    with_texts = [{**row, "text": TEXTS[row["index"]]} for row in expected]
    for body in (
        {"inputs": {**inputs, "return_documents": True}},
        {"inputs": inputs, "parameters": {"return_documents": True}},
        {**inputs, "return_text": True},
    ):
        assert ranker.ask(body) == with_texts
    raw = ranker.ask({**inputs, "raw_scores": True})
    assert [row["index"] for row in raw] == order
    assert 1 / (1 + np.exp(-raw[0]["score"])) == pytest.approx(expected[0]["score"], abs=1e-5)


@pytest.mark.parametrize(
    ("more", "function"),
    [
        ({}, "sigmoid"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "none"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5.1.0"}}, "sigmoid"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}, None),
    ],
)  # fmt: skip
def test_scores_go_through_what_the_model_names(
    made: Reference, tmp_path: Path, more: dict[str, Any], function: str | None
) -> None:
    folder = shutil.copytree(made.model("ranker"), tmp_path / "ranker")
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, **more}))
    model = open_model(folder, task=TASK, head=Head.SEQUENCE)
    if function is None:
        with pytest.raises(Refused, match="names Tanh for the scores; supported: Sigmoid, Identity"):
            task_kind(TASK).make(model)
        return
    work = task_kind(TASK).make(model).plan(Request(["a", "b"], {}, Dialect.TOOLKIT))
    (encoded,) = work.encode()
    assert work.reduce(np.array([2.0], np.float32), encoded) == pytest.approx(
        0.880797 if function == "sigmoid" else 2
    )


@pytest.mark.parametrize(
    ("inputs", "parameters", "status", "complaint"),
    [
        ("x", {}, 400, 'inputs: expected ["query", "text"], a list of such pairs, or {"query"'),
        (["a", "b", "c"], {}, 400, "inputs: expected a query and a text, got 3 of them"),
        ([["a", "b"], ["c"]], {}, 400, "inputs[1]: expected a query and a text, got 1 of them"),
        ([["a", 5]], {}, 400, "inputs[0][1]: expected a string, got a number"),
        ({"query": "a"}, {}, 400, "inputs.texts: expected a list of strings, got null"),
        ({"texts": ["a"]}, {}, 400, "inputs.query: expected a string, got null"),
        ({"query": "a", "texts": ["b"], "return_documents": 1}, {}, 400, "inputs.return_documents: expected true or false"),
        ({"query": "a", "texts": ["b"] * 10_001}, {}, 413, "inputs.texts: 10001 texts, more than 10000"),
        ({"query": "a" * 2_000, "texts": ["b"] * 5_001}, {}, 413, "inputs.texts: the pairs of texts would have"),
        (["x " * 100, "y"], {"truncate": False}, 400, "inputs: 104 tokens, more than the 64"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    replica: Get, inputs: Any, parameters: dict[str, Any], status: int, complaint: str
) -> None:
    answer = replica("ranker", TASK).post({"inputs": inputs, "parameters": parameters})
    assert answer.status_code == status
    assert complaint in answer.json()["error"]


def test_a_model_with_several_labels_is_refused(made: Reference) -> None:
    model = open_model(made.model("topics"), task=TASK, head=Head.SEQUENCE)
    with pytest.raises(Refused, match="the model has 3 labels, and a model for text-ranking has one"):
        task_kind(TASK).make(model)


def test_the_task_is_told_from_what_sentence_transformers_saved() -> None:
    config = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    assert guess_task(config, []) == "text-classification"
    for told in (
        {"sbert_ce_default_activation_function": "x.Identity"},
        {"sentence_transformers": {"version": "5"}},
    ):
        assert guess_task({**config, **told}, []) == TASK
        assert guess_task({**config, **told, "id2label": {"0": "a", "1": "b"}}, []) == "text-classification"
