"""The gate lets exact variants pass and refuses broken ones: on made-up rows, and on models with trained weights."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inlet.core.errors import Invalid
from inlet.runtime.artifact.corpus import MAX_BYTES, MAX_SAMPLES, corpus, read_samples
from inlet.runtime.artifact.figures import Judged
from inlet.runtime.artifact.gate import BOUNDS, MIN_TEXTS, MOVED, Verdict, judge, judge_neighbours
from inlet.runtime.artifact.trial import Trial
from inlet.runtime.build.encoder import Head, build
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import IntArray, Lane, Variant
from inlet.runtime.engines.openvino.engine import can_bf16
from inlet.runtime.engines.openvino.graph import OpenVinoGraph
from inlet.runtime.engines.openvino.model import OpenVinoModel
from inlet.runtime.model import Model, open_model
from inlet.runtime.texts import Limit, Text
from tests.reference import ROOT, Reference, minilm, trained

FP32, BF16 = Variant("openvino", "fp32"), Variant("openvino", "bf16", "bf16")
INT8 = Variant("openvino", "int8", "f32", 128)
LABELS = ("cat", "dog", "fox")
pytestmark = pytest.mark.timeout(600)  # heads are trained by whichever test first asks for them


def made_rows(kind: Judged, count: int = 80) -> list[Any]:
    """Reference answers of that kind; for choices, clear and close ones."""
    rng = np.random.default_rng(3)
    shape = {Judged.TOKENS: (5, 3), Judged.SPANS: (5, 2), Judged.VECTORS: (16,)}.get(kind, (3,))
    return list(rng.normal(size=(count, *shape)).astype(np.float32) * 3)


def verdict(kind: Judged, reference: Any, variant: Any) -> Verdict:
    texts = [f"text {index}" for index in range(len(reference))]
    return judge(kind, texts, reference, variant, labels=LABELS)


class TestJudge:
    @pytest.mark.parametrize("kind", Judged)
    def test_the_same_answers_pass(self, kind: Judged) -> None:
        rows = made_rows(kind)
        found = verdict(kind, rows, rows)
        assert found.passed, found.reasons
        assert found.figures["noise"] == 0
        assert all(item.change < 1e-12 and item.reference == item.variant for item in found.worst)

    @pytest.mark.parametrize("kind", Judged)
    def test_what_cannot_be_judged_does_not_pass(self, kind: Judged) -> None:
        rows = made_rows(kind)
        few = rows[: MIN_TEXTS - 1]
        assert verdict(kind, few, few).reasons == ("49 texts are too few to judge by: at least 50",)
        assert not verdict(kind, [], []).passed
        alike = [rows[0]] * len(rows)
        if kind in (Judged.TOKENS, Judged.SPANS):
            alike = [np.broadcast_to(row[0], row.shape) for row in alike]
        assert verdict(kind, alike, alike).reasons == ("the reference gives every text the same answer",)
        for number in (np.nan, np.inf, -np.inf):
            broken = [row.copy() for row in rows]
            broken[7].flat[1] = number
            expected = "answers 1 of 80 texts with numbers that are not finite"
            assert verdict(kind, rows, broken).reasons == (f"the variant {expected}",)
            assert verdict(kind, broken, broken).reasons == (f"the reference {expected}",)
        assert "another shape" in verdict(kind, rows, [row[:-1] for row in rows]).reasons[0]
        with pytest.raises(ValueError, match="80 texts, 80 and 79 rows"):
            verdict(kind, rows, rows[:-1])

    @pytest.mark.parametrize("kind", Judged)
    def test_other_answers_do_not_pass(self, kind: Judged) -> None:
        rows = made_rows(kind)
        others = {
            "of other texts": [*rows[1:], rows[0]],
            "always the same": [np.mean(rows, axis=0, dtype=np.float32)] * len(rows),
            "with the opposite sign": [-row for row in rows],
            "on another scale": [2 * row for row in rows],
            "in another order": [np.roll(row, 1, axis=-1) for row in rows],
        }
        for name, other in others.items():
            assert not verdict(kind, rows, other).passed, name

    def test_a_close_call_may_flip_and_a_clear_one_may_not(self) -> None:
        rows = made_rows(Judged.CLASSES)
        close, clear = (
            np.log([0.47, 0.43, 0.1], dtype=np.float32),
            np.log([0.54, 0.4, 0.06], dtype=np.float32),
        )
        for row, passes in ((close, True), (clear, False)):
            before = [*rows[1:], row]
            after = [*rows[1:], row[[1, 0, 2]]]
            found = verdict(Judged.CLASSES, before, after)
            assert found.figures["agreement"] == 1 - 1 / 80
            assert found.passed is passes
        assert found.reasons == ("clear_flips is 0.0125, which must be at most 0",)

    def test_an_answer_that_is_always_the_same_tells_nothing_about_the_others(self) -> None:
        """A reference so sure of one label that no decision of a dead variant differs."""
        rows = [row + np.array([40, 0, 0], np.float32) for row in made_rows(Judged.CLASSES)]
        dead = [np.array([40, 0, 0], np.float32)] * len(rows)
        found = verdict(Judged.CLASSES, rows, dead)
        assert found.figures["agreement"] == found.figures["commonest"] == 1
        assert [reason.split()[0] for reason in found.reasons] == ["noise"]

    def test_labels_decide_one_by_one(self) -> None:
        rows = [row.copy() for row in made_rows(Judged.LABELS)]
        rows[5][:] = [9, 8, 0.5]
        after = [row.copy() for row in rows]
        after[5][2] = -0.5  # the largest of the three stays, yet one label is gone
        found = verdict(Judged.LABELS, rows, after)
        assert found.reasons == ("clear_flips is 0.0125, which must be at most 0",)
        assert (found.worst[0].reference, found.worst[0].variant) == ("fox 0.622", "fox 0.378")

    def test_values_change_in_units_of_their_spread(self) -> None:
        rows = [1000 + row for row in made_rows(Judged.VALUES)]
        spread = np.std(np.array(rows, np.float64), axis=0)
        for share, passes in ((0.2, True), (0.9, False)):
            after = [*rows[:-1], rows[-1] + np.float32(share) * np.float32(spread.mean())]
            found = verdict(Judged.VALUES, rows, after)
            assert found.passed is passes, found.reasons
            assert found.figures["change_max"] == pytest.approx(share, rel=0.05)

    def test_one_vector_far_off_is_enough(self) -> None:
        rows = made_rows(Judged.VECTORS, 400)
        found = verdict(Judged.VECTORS, rows, [*rows[:-1], np.roll(rows[-1], 1)])
        assert [reason.split()[0] for reason in found.reasons] == ["cosine_min"]
        assert found.worst[0].text == "text 399"

    def test_neighbours_that_change_are_enough(self) -> None:
        """Every vector moves a little, and all are so near to each other that others are the nearest now."""
        rows = [20 + row for row in made_rows(Judged.VECTORS)]
        rng = np.random.default_rng(5)
        found = verdict(Judged.VECTORS, rows, [row + rng.normal(size=row.shape) * 0.3 for row in rows])
        assert [reason.split()[0] for reason in found.reasons] == ["top10"]

    def test_texts_that_are_equally_near_may_change_places(self) -> None:
        """Texts of the same tokens have the same vectors, whose order says nothing."""
        rng = np.random.default_rng(5)

        def rounded(row: Any) -> Any:
            return row + rng.normal(size=row.shape).astype(np.float32) * 1e-7

        rows = [rounded(row) for row in made_rows(Judged.VECTORS) for _ in range(7)]
        after = [rounded(row) for row in rows]
        found = verdict(Judged.VECTORS, rows, after)
        assert found.figures["nearest"] == found.figures["top10"] == 1

    def test_the_worst_texts_are_shown_with_both_answers(self) -> None:
        rows = made_rows(Judged.CLASSES)
        after = [row.copy() for row in rows]
        for index in range(20):
            after[index][1] += 0.1 * index
        rows[3][:], after[3][:] = [-9, 9, 0], [9, -9, 0]
        texts = ["x" * 1000, *(f"text {index}" for index in range(1, 80))]
        worst = judge(Judged.CLASSES, texts, rows, after, labels=LABELS).worst
        assert len(worst) == 10
        assert worst[0].text == "text 3"
        assert worst[0].variant == "cat 1"
        assert [item.change for item in worst] == sorted((item.change for item in worst), reverse=True)
        rows[0][:], after[0][:] = [-9, 9, 0], [9, -9, 0]
        assert "x" * 200 in [
            item.text for item in judge(Judged.CLASSES, texts, rows, after, labels=LABELS).worst
        ]

    def test_what_depends_on_its_neighbours_does_not_pass(self) -> None:
        rows = made_rows(Judged.CLASSES)
        assert judge_neighbours(Judged.CLASSES, rows, rows, rows).passed
        among = [*rows[:-1], rows[-1] + np.float32(0.001)]
        found = judge_neighbours(Judged.CLASSES, rows, rows, among)
        assert not found.passed
        assert found.reasons[0].startswith("moved is 0.000")


def test_the_page_on_fidelity_states_every_bound() -> None:
    page = (ROOT / "docs" / "reference" / "fidelity.md").read_text()
    rows = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` .*$", page, re.MULTILINE)}
    for kind, bounds in {**BOUNDS, "all": {"moved": MOVED}}.items():
        for figure, bound in bounds.items():
            sign = "≥" if bound.least else "≤"
            assert f"{sign} {bound.limit:g}" in rows[figure], f"{kind}: {figure}"
    assert f"at least {MIN_TEXTS} texts" in page


class TestCorpus:
    def test_it_is_varied_and_always_the_same(self) -> None:
        texts = [text.text for text in corpus()]
        assert texts == [text.text for text in corpus()]
        assert len(texts) == len(set(texts)) > 250
        scripts = {unicodedata.name(letter).split()[0] for letter in "".join(texts) if letter.isalpha()}
        assert {
            "LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "DEVANAGARI",
            "THAI",
        } <= scripts  # fmt: skip

    def test_its_lengths_are_those_of_traffic(self) -> None:
        tokenizer = sentences().texts
        lengths = [len(item) for item in tokenizer.encode(corpus(), Limit(512, clip=True))]
        assert 20 <= np.median(lengths) <= 35
        assert 120 <= np.percentile(lengths, 95) <= 220
        assert lengths.count(512) >= 2
        assert min(lengths) == 3
        assert sum(lengths) < 20_000  # or a base model takes more than 20 s for it on two cores

    def test_neighbours_are_about_the_same_thing(self) -> None:
        """So that the ten nearest of a text mean something. English only, as the model is."""
        texts = corpus()[:256]
        topics = np.repeat(np.arange(32), 8)
        english = np.tile(np.arange(8) < 4, 32)
        trial = Trial.of(
            sentences(), [text for text, kept in zip(texts, english, strict=True) if kept], print
        )
        rows = np.array(trial.run(lane(sentences().graph(), FP32)))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        similar = rows @ rows.T - 2 * np.eye(len(rows))
        assert np.mean(topics[english][similar.argmax(axis=1)] == topics[english]) > 0.6


class TestSamples:
    def test_a_text_a_line(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.txt"
        path.write_bytes('first\r\n\n  {"inputs": 5}  \nzwölf\u2028Boxkämpfer\n'.encode())
        assert [(text.text, text.field) for text in read_samples(path)] == [
            ("first", "mine.txt, line 1"), ('{"inputs": 5}', "mine.txt, line 3"),
            ("zwölf\u2028Boxkämpfer", "mine.txt, line 4"),
        ]  # fmt: skip

    def test_a_request_a_line(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.jsonl"
        path.write_text(
            '{"inputs": "a", "parameters": {"top_k": 1}}\n\n{"inputs": ["b", "c"]}\n'
            '{"inputs": {"text": "d", "text_pair": "e"}}\n'
        )
        assert [(text.text, text.pair) for text in read_samples(path)] == [
            ("a", None), ("b", None), ("c", None), ("d", "e"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("mine.csv", b"a", r"^mine.csv: samples are a .txt file \(a text a line\) or a .jsonl file"),
            ("mine.txt", b"", "^mine.txt has no texts"),
            ("mine.txt", b"a\n\xff\n", "^mine.txt, line 2: not UTF-8"),
            ("mine.txt", b"a\n" * (MAX_SAMPLES + 1), "^mine.txt has more than 1000 texts; take fewer"),
            ("mine.txt", b"a" * (MAX_BYTES + 1), "^mine.txt has more than 10000000 bytes; take fewer"),
            ("mine.jsonl", b'{"inputs": "a"}\n{"inputs"', "^mine.jsonl, line 2: not JSON: "),
            ("mine.jsonl", b"[" * 100_000, "^mine.jsonl, line 1: not JSON: "),
            ("mine.jsonl", b'{"text": "a"}', '^mine.jsonl, line 1: expected {"inputs": …}'),
            ("mine.jsonl", b'"a"', '^mine.jsonl, line 1: expected {"inputs": …}'),
            ("mine.jsonl", b'{"inputs": {"text": "a"}}', '^mine.jsonl, line 1: expected {"inputs": …}'),
            ("mine.jsonl", b'{"inputs": ["a", 5]}', '^mine.jsonl, line 1: expected {"inputs": …}'),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named(self, tmp_path: Path, name: str, content: bytes, message: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Invalid, match=message):
            read_samples(tmp_path / name)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(Invalid, match=r"^mine.txt cannot be read: No such file"):
            read_samples(tmp_path / "mine.txt")


Damage = Callable[[str, Any], Any]
"""A tensor's name and the tensor, to what shall be in its place."""


class Damaged(Weights):
    """A model folder of which some tensors are read otherwise than they are."""

    damage: Damage

    def take(self, name: str, shape: tuple[int, ...]) -> Any:
        return np.ascontiguousarray(self.damage(name, np.array(super().take(name, shape))), dtype=np.float32)


def damaged(model: Model, damage: Damage) -> OpenVinoModel:
    weights, graph = Damaged.open(model.folder), OpenVinoGraph()
    weights.damage = damage
    return graph.model(build(graph, model.shape, weights, model.head))


def four_bits(name: str, tensor: Any) -> Any:
    if tensor.ndim != 2 or "embeddings" in name:
        return tensor
    scale = np.abs(tensor).max(axis=1, keepdims=True) / 7
    return np.rint(tensor / scale) * scale


def one_layer_too_large(name: str, tensor: Any) -> Any:
    return tensor * 1.5 if name.endswith("layer.2.output.dense.weight") else tensor


def one_token_is_no_number(name: str, tensor: Any) -> Any:
    if name.endswith("word_embeddings.weight"):
        tensor[1996] = np.nan  # "the"
    return tensor


def labels_swapped(name: str, tensor: Any) -> Any:
    return tensor[[1, 0, *range(2, len(tensor))]] if name.startswith("classifier.") else tensor


def one_label_reversed(name: str, tensor: Any) -> Any:
    if name == "classifier.weight":
        tensor[0] *= -1
    return tensor


class Unmasked:
    """A lane that attends to the padding."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> Any:
        return self._lane.infer(ids, token_types, np.ones_like(mask))


class OneScale:
    """A lane that rounds what comes out to 8 bits with one scale for the whole batch."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> Any:
        output = self._lane.infer(ids, token_types, mask)
        scale = np.abs(output).max() / 127
        return np.rint(output / scale).astype(np.float32) * scale


def lane(graph: OpenVinoModel, variant: Variant) -> Lane:
    return graph.compile(variant, threads=2).lanes()[0]


@dataclass(frozen=True)
class Case:
    """A model, texts for it, and the answers in fp32."""

    model: Model
    trial: Trial
    reference: Any

    def judge(self, lane: Lane) -> Verdict:
        return self.trial.judge(lane, self.reference)


def case(model: Model) -> Case:
    """With a third of the corpus, without the long texts: enough for a verdict, and quick."""
    trial = Trial.of(model, corpus()[:256:3], print)
    return Case(model, trial, trial.run(lane(model.graph(), FP32)))


@cache
def sentences() -> Model:
    return open_model(minilm(), task="feature-extraction", head=Head.HIDDEN)


@pytest.fixture(scope="module")
def vectors() -> Case:
    return case(sentences())


@pytest.fixture(scope="module")
def classes() -> Case:
    return case(open_model(trained.classifier(), task="text-classification", head=Head.SEQUENCE))


@pytest.fixture(scope="module")
def tokens() -> Case:
    return case(open_model(trained.tagger(), task="token-classification", head=Head.TOKEN))


@pytest.mark.parametrize("name", ["vectors", "classes", "tokens"])
class TestTrainedModels:
    def test_the_reference_is_its_own_equal(self, name: str, request: pytest.FixtureRequest) -> None:
        case = request.getfixturevalue(name)
        found = case.judge(lane(case.model.graph(), FP32))
        assert found.passed, found.reasons
        assert found.figures["noise"] == found.figures["moved"] == 0

    @pytest.mark.skipif(not can_bf16(), reason="this CPU does not compute in bf16")
    def test_bf16_passes(self, name: str, request: pytest.FixtureRequest) -> None:
        case = request.getfixturevalue(name)
        found = case.judge(lane(case.model.graph(), BF16))
        assert found.passed, found.reasons

    @pytest.mark.parametrize("damage", [four_bits, one_layer_too_large, one_token_is_no_number])
    def test_damaged_weights_are_refused(
        self, name: str, damage: Damage, request: pytest.FixtureRequest
    ) -> None:
        case = request.getfixturevalue(name)
        assert not case.judge(lane(damaged(case.model, damage), FP32)).passed

    def test_attention_to_padding_is_refused(self, name: str, request: pytest.FixtureRequest) -> None:
        case = request.getfixturevalue(name)
        assert not case.judge(Unmasked(lane(case.model.graph(), FP32))).passed


class TestVectors:
    def test_int8_weights_pass(self, vectors: Case) -> None:
        found = vectors.judge(lane(vectors.model.graph().quantised(), INT8))
        assert found.passed, found.reasons
        assert found.figures["noise"] > 0


class TestClasses:
    @pytest.mark.parametrize("damage", [labels_swapped, one_label_reversed])
    def test_a_damaged_head_is_refused(self, classes: Case, damage: Damage) -> None:
        found = classes.judge(lane(damaged(classes.model, damage), FP32))
        assert not found.passed
        first = found.worst[0]
        assert first.reference != first.variant
        assert first.reference.split()[0] in trained.PACKAGES

    def test_one_scale_for_a_whole_batch_is_refused(self, classes: Case) -> None:
        """Exact enough for every text alone, but an answer depends on the others in its batch."""
        found = classes.judge(OneScale(lane(classes.model.graph(), FP32)))
        assert [reason.split()[0] for reason in found.reasons] == ["moved"]

    def test_what_passes_is_as_accurate(self, classes: Case) -> None:
        """On texts whose labels are known: within what chance alone does to the accuracy in fp32."""
        texts, labels = trained.tested()
        trial = Trial.of(classes.model, [Text(text, "x") for text in texts], print)

        def accuracy(graph: OpenVinoModel, variant: Variant) -> float:
            return float(np.mean(np.argmax(trial.run(lane(graph, variant)), axis=1) == labels))

        graph = classes.model.graph()
        exact, rounded = accuracy(graph, FP32), accuracy(graph.quantised(), INT8)
        assert exact > 3 / len(trained.PACKAGES)  # or there is nothing to lose
        assert abs(exact - rounded) <= 1.96 * np.sqrt(exact * (1 - exact) / len(labels))


class TestTokens:
    def test_the_labels_of_special_tokens_do_not_count(self, tokens: Case) -> None:
        for item, row in zip(tokens.trial.encoded, tokens.reference, strict=True):
            assert len(row) == len(item) - 2

    def test_a_text_of_special_tokens_only_is_left_out(self, tokens: Case) -> None:
        trial = Trial.of(tokens.model, [Text("", "x"), Text("word", "x")], print)
        assert [item.text.text for item in trial.encoded] == ["word"]


@pytest.mark.parametrize("damage", [labels_swapped, one_label_reversed])
def test_a_small_tagger_is_judged_as_well(made: Reference, damage: Damage) -> None:
    small = case(open_model(made.model("entities"), task="token-classification", head=Head.TOKEN))
    graph = small.model.graph()
    found = small.judge(lane(graph.quantised(), Variant("openvino", "int8", "f32", 48)))
    assert found.passed, found.reasons
    assert not small.judge(lane(damaged(small.model, damage), FP32)).passed
