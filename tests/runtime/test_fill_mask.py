"""fill-mask: a real replica against transformers, bad inputs, bounds, and the gate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inlet.core.errors import Refused
from inlet.runtime.artifact.corpus import corpus
from inlet.runtime.artifact.figures import Judged
from inlet.runtime.artifact.trial import Trial
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.base import Variant
from inlet.runtime.model import open_model
from inlet.runtime.tasks import task_kind
from tests.reference import Reference, checkpoint
from tests.runtime.close import assert_close
from tests.runtime.process import HUB_CLIENT, Replica

Get = Callable[[str, str], Replica]
TASK = "fill-mask"


def test_answers_are_those_of_the_reference(made: Reference, replica: Get) -> None:
    for case in made.of(TASK):
        body = {"inputs": case.inputs, "parameters": case.parameters}
        for headers in ({}, HUB_CLIENT):
            got = replica(case.model, TASK).ask(body, **headers)
            assert_close(got, case.expected, where=f"{case.model} {case.inputs!r:.60} {case.parameters}")


def test_a_list_gets_a_list(replica: Get) -> None:
    words = replica("words", TASK)
    alone = words.ask({"inputs": "the [MASK] needs salt"})
    assert words.ask({"inputs": ["the [MASK] needs salt"]}) == [alone]
    assert words.ask({"inputs": []}) == []


@pytest.mark.parametrize(
    ("inputs", "parameters", "status", "complaint"),
    [
        ("the soup", {}, 400, "inputs: has no [MASK]; write it where a word is to be found"),
        (["[MASK]", "<mask>"], {}, 400, "inputs[1]: has no [MASK]"),
        (5, {}, 400, "inputs: expected a string or a list of strings, got a number"),
        ("[MASK] " * 100, {}, 400, "inputs: 102 tokens, more than the 72"),
        ("[MASK]", {"top_k": 0}, 400, "parameters.top_k: must be at least 1"),
        ("[MASK]", {"top_k": 100_000}, 400, "parameters.top_k: must be at most"),
        ("[MASK]", {"targets": [1]}, 400, "parameters.targets[0]: expected a string, got a number"),
        ("[MASK]", {"targets": [""]}, 400, "parameters.targets: none of them is a word"),
        ("[MASK]", {"targets": ["a"] * 1_001}, 413, "parameters.targets: 1001 words, more than 1000"),
        (["[MASK] " * 70] * 50, {"top_k": 10}, 413, "the sequences up to here would have more than 1000000 tokens"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    replica: Get, inputs: Any, parameters: dict[str, Any], status: int, complaint: str
) -> None:
    answer = replica("words", TASK).post({"inputs": inputs, "parameters": parameters})
    assert answer.status_code == status
    assert complaint in answer.json()["error"]


@pytest.mark.parametrize(
    ("model", "reason"), [("topics", "it does text-classification"), ("bare", "not trained to fill")]
)
def test_another_model_is_refused(made: Reference, model: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        open_model(made.model(model), task=TASK, head=Head.MASKED)


def test_a_tokenizer_without_a_mask_is_refused(made: Reference, tmp_path: Path) -> None:
    folder = shutil.copytree(made.model("words"), tmp_path / "words")
    settings = json.loads((folder / "tokenizer_config.json").read_bytes())
    del settings["mask_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = open_model(folder, task=TASK, head=Head.MASKED)
    with pytest.raises(Refused, match="names no mask_token"):
        task_kind(TASK).make(model)


def test_a_table_of_its_own_is_used_where_the_model_says_so(made: Reference, tmp_path: Path) -> None:
    folder = shutil.copytree(made.model("words"), tmp_path / "words")
    tensors = checkpoint.load(folder)
    table = tensors["bert.embeddings.word_embeddings.weight"]
    checkpoint.save(folder, {**tensors, "cls.predictions.decoder.weight": 2 * table})
    rows = np.ones((1, table.shape[1]), np.float32)
    tied = open_model(folder, task=TASK, head=Head.MASKED).decoder
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    own = open_model(folder, task=TASK, head=Head.MASKED)
    assert tied is not None
    assert own.decoder is not None
    own.graph()  # a table that is not in the graph is no riddle
    np.testing.assert_allclose(
        own.decoder.logits(rows) - tied.logits(rows), (table @ rows[0])[None], atol=1e-4
    )


def test_the_gate_judges_the_word_that_fits_best(made: Reference) -> None:
    model = open_model(made.model("words"), task=TASK, head=Head.MASKED)
    trial = Trial.of(model, corpus(), lambda _: None)
    assert trial.kind is Judged.CLASSES
    assert model.texts.mask is not None
    assert all(np.count_nonzero(item.ids == model.texts.mask.id) == 1 for item in trial.encoded)
    graph = model.graph()
    lane, other = (graph.compile(Variant("openvino", "fp32"), threads=1).lanes()[0] for _ in range(2))
    rows = trial.run(lane)
    assert model.decoder is not None
    assert rows[0].shape == (model.decoder.words,)
    assert trial.judge(other, rows).passed
    assert not trial.judge(other, [*rows[1:], rows[0]]).passed
