"""The real process answers what transformers answers, within 1e-4, for every case of `tests/reference`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.reference import Reference
from tests.runtime.close import assert_close
from tests.runtime.process import HUB_CLIENT, Replica

Get = Callable[[str, str], Replica]
TASKS = (
    "text-classification", "token-classification", "feature-extraction", "sentence-similarity", "sentence-embeddings",
)  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_those_of_the_reference(task: str, made: Reference, replica: Get) -> None:
    cases = made.of(task)
    assert cases
    for case in cases:
        got = replica(case.model, task).ask({"inputs": case.inputs, "parameters": case.parameters})
        assert_close(got, case.expected, where=f"{case.model} {case.inputs!r:.60} {case.parameters}")


def test_the_reference_models_are_not_trivial(made: Reference) -> None:
    """Every label is predicted somewhere, or the comparison would prove little."""
    labels = {row["label"] for case in made.of("text-classification") if case.model == "topics"
              for row in case.expected if isinstance(row, dict)}  # fmt: skip
    assert labels == {"sport", "food", "weather"}
    groups = {row["entity_group"] for case in made.of("token-classification") for row in case.expected
              if isinstance(row, dict) and "entity_group" in row}  # fmt: skip
    assert {"PER", "LOC", "ORG"} <= groups


class TestClientLibraryShapes:
    """What the client libraries get: the api dialect."""

    def test_text_classification(self, replica: Get) -> None:
        classifier = replica("topics", "text-classification")
        (best,) = classifier.ask({"inputs": "the team won", "parameters": {"top_k": 3}}, **HUB_CLIENT)
        assert best == classifier.ask({"inputs": "the team won", "parameters": {"top_k": None}})
        assert classifier.ask({"inputs": "the team won"}, **HUB_CLIENT) == [best]
        pair = classifier.ask({"inputs": ["the team won", "soup"]}, **HUB_CLIENT)
        assert pair == [[row] for row in classifier.ask({"inputs": ["the team won", "soup"]})]

    def test_token_classification_groups_by_default(self, replica: Get) -> None:
        tagger, body = (
            replica("entities", "token-classification"),
            {"inputs": "Anna Petrova lives in New York ."},
        )
        grouped = tagger.ask({**body, "parameters": {"aggregation_strategy": "simple"}})
        assert tagger.ask(body, **HUB_CLIENT) == grouped
        assert {row["entity_group"] for row in grouped} == {"PER", "LOC"}

    def test_feature_extraction_is_pooled_when_the_model_says_how(
        self, made: Reference, replica: Get
    ) -> None:
        (case,) = made.of("sentence-embeddings")
        features = replica("minilm", "feature-extraction")
        expected = case.expected["embeddings"]
        assert_close(features.ask({"inputs": case.inputs}, **HUB_CLIENT), expected)
        assert_close(features.ask({"inputs": case.inputs[0]}, **HUB_CLIENT), expected[:1])
        assert_close(features.ask({"inputs": case.inputs[0], "normalize": True}), expected[:1])
        short = features.ask({"inputs": case.inputs[0], "dimensions": 3, "normalize": False}, **HUB_CLIENT)[0]
        whole = features.ask({"inputs": case.inputs[0], "normalize": False}, **HUB_CLIENT)[0]
        assert short == whole[:3]

    def test_feature_extraction_without_pooling_drops_the_batch_axis(self, replica: Get) -> None:
        features = replica("bare", "feature-extraction")
        plain = features.ask({"inputs": ["soup", "the team won"]})
        assert features.ask({"inputs": ["soup", "the team won"]}, **HUB_CLIENT) == [item[0] for item in plain]
        assert features.ask({"inputs": "soup"}, **HUB_CLIENT) == plain[0][0]

    def test_similarities_are_bare(self, made: Reference, replica: Get) -> None:
        (case,) = made.of("sentence-similarity")
        scores = replica("minilm", "sentence-similarity")
        assert_close(scores.ask({"inputs": case.inputs}, **HUB_CLIENT), case.expected["similarities"])
        # as versions 0.28 to 0.30 of the client send it
        old = scores.ask({"inputs": None, "parameters": {}, **case.inputs}, **HUB_CLIENT)
        assert_close(old, case.expected["similarities"])

    def test_return_all_scores_keeps_the_order_of_the_labels(self, replica: Get) -> None:
        body = {"inputs": "snow", "parameters": {"return_all_scores": True}}
        (rows,) = replica("topics", "text-classification").ask(body)
        assert [row["label"] for row in rows] == ["sport", "food", "weather"]


def test_a_direction_clips_the_other_end(replica: Get) -> None:
    features = replica("minilm", "feature-extraction")
    words = [f"word{number}" for number in range(300)]
    left = features.ask({"inputs": " ".join(words), "truncation_direction": "left"})
    right = features.ask({"inputs": " ".join(words), "truncation_direction": "Right"})
    assert left != right
    assert right == features.ask({"inputs": " ".join(words[:250]), "truncate": True})
