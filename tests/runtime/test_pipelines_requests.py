"""Requests for tasks that a worker computes: every spelling, every limit, and nothing but an `InletError` on what is wrong."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inlet.core.errors import InletError, Invalid, TooLarge
from inlet.runtime.dialect import Dialect, Request
from inlet.runtime.pipelines.call import FLOATS, Blob, Result
from inlet.runtime.pipelines.tasks import TASKS, Plan, canonical, plan, plan_request, sample
from inlet.runtime.pipelines.tasks.accept import preferred
from inlet.runtime.pipelines.tasks.samples import PICTURE, SOUND
from inlet.runtime.serving import Asked

PNG = base64.b64decode(PICTURE)
SOME_LABELS = {
    task: {"candidate_labels": "a, b"} if "candidate_labels" in kind.required else {}
    for task, kind in TASKS.items()
}
MEDIA = [name for name, kind in TASKS.items() if kind.raw]


def asked(body: Any, query: str = "", **headers: str) -> Asked:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Asked("/", content, named, query, Dialect.TOOLKIT, 0.0, None)


def planned(task: str, body: Any, query: str = "", **headers: str) -> Plan:
    return plan(task, asked(body, query, **headers))


def request(
    task: str, inputs: Any, parameters: Any = None, dialect: Dialect = Dialect.TOOLKIT, accept: str = ""
) -> Plan:
    return plan_request(task, Request(inputs, parameters or {}, dialect), accept=accept)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_call_to_warm_up_with(task: str) -> None:
    assert len(sample(task).inputs) == 1


def test_tasks_have_other_names() -> None:
    assert canonical("translation_en_to_fr") == "translation"
    assert canonical("ner") == "token-classification"
    assert canonical("unheard-of") == "unheard-of"


class TestSpellings:
    @pytest.mark.parametrize(
        "kind", ["image/png", "IMAGE/X-IMAGE", "application/octet-stream", "", "image/jpeg; a=b"]
    )
    def test_a_body_may_be_the_image(self, kind: str) -> None:
        headers = {"content_type": kind} if kind else {}
        made = planned("image-classification", PNG, "top_k=3", **headers)
        assert made.call.blobs == [PNG]
        assert made.call.inputs == [{"$blob": 0}]
        assert made.call.parameters == {"top_k": 3}

    @pytest.mark.parametrize(
        "value",
        [
            PICTURE,
            f"data:image/png;base64,{PICTURE}",
            PICTURE[:76] + "\r\n" + PICTURE[76:],
            {"image": PICTURE},
        ],
    )
    def test_images_in_json(self, value: Any) -> None:
        assert planned("object-detection", {"inputs": value}).call.blobs == [PNG]
        assert planned("object-detection", {"inputs": [value, value]}).call.blobs == [PNG, PNG]

    @pytest.mark.parametrize("task", MEDIA)
    @pytest.mark.parametrize(
        "value",
        [
            "https://example.org/a.png",
            "file:///etc/passwd",
            "/etc/hosts.png",
            "data:image/png,abc",
            "%%%",
            "abc",
            "",
        ],
    )
    def test_nothing_is_fetched_or_opened(self, task: str, value: str) -> None:
        with pytest.raises(Invalid, match=r"^inputs"):
            planned(
                task, {"inputs": {"image": value, "audio": value, "question": "what"}, **SOME_LABELS[task]}
            )

    def test_a_query_stands_in_for_parameters(self) -> None:
        made = planned("object-detection", PNG, "threshold=0.25", content_type="image/png")
        assert made.call.parameters == {"threshold": 0.25}
        made = planned(
            "zero-shot-image-classification", PNG, "candidate_labels=a,b", content_type="image/png"
        )
        assert made.call.parameters == {"candidate_labels": ["a", "b"]}
        made = planned("visual-question-answering", PNG, "question=what&top_k=2", content_type="image/png")
        assert made.call.inputs == [{"image": {"$blob": 0}, "question": "what"}]
        assert made.call.parameters == {"top_k": 2}
        with pytest.raises(Invalid, match=r"parameters\.top_k: must be at most 10000, got 1000000000$"):
            planned("image-classification", PNG, "top_k=1000000000", content_type="image/png")

    @pytest.mark.parametrize(
        "body",
        [
            {"question": "what", "image": PICTURE},
            {"inputs": {"question": "what", "image": PICTURE}},
            {"inputs": PICTURE, "parameters": {}, "question": "what", "image": PICTURE},
            {"inputs": None, "question": "what", "image": PICTURE},
        ],
    )
    def test_questions_about_images(self, body: Any) -> None:
        for task in ("visual-question-answering", "document-question-answering"):
            made = planned(task, body)
            assert made.call.inputs == [{"image": {"$blob": 0}, "question": "what"}]
            assert made.call.blobs == [PNG]

    @pytest.mark.parametrize(
        "body",
        [
            {"query": "how", "table": {"a": ["1"]}},
            {"inputs": None, "parameters": {}, "query": "how", "table": {"a": ["1"]}},
            {"inputs": {"query": "how", "table": {"a": [1]}}},
            {"inputs": {"question": "how", "table": {"a": ["1"]}}},
        ],
    )
    def test_questions_about_tables(self, body: Any) -> None:
        assert planned("table-question-answering", body).call.inputs == [
            {"query": "how", "table": {"a": ["1"]}}
        ]

    def test_lists_in_an_item_are_several_items(self) -> None:
        both = {"question": ["a", "b"], "context": ["x", "y"]}
        made = planned("question-answering", {"inputs": both})
        assert made.call.inputs == [{"question": "a", "context": "x"}, {"question": "b", "context": "y"}]
        with pytest.raises(Invalid, match="equal length"):
            planned("question-answering", {"inputs": {**both, "context": ["x"]}})

    @pytest.mark.parametrize(
        "body",
        [
            {"inputs": "a", "parameters": {"candidate_labels": "x, y"}},
            {"inputs": "a", "parameters": {"candidateLabels": ["x", "y"]}},
            {"inputs": {"text": "a", "candidate_labels": ["x", "y"]}},
            {"inputs": {"sequences": "a"}, "candidate_labels": ["x", "y"]},
        ],
    )
    def test_candidate_labels(self, body: Any) -> None:
        made = planned("zero-shot-classification", body)
        assert (made.call.inputs, made.call.parameters) == (["a"], {"candidate_labels": ["x", "y"]})

    @pytest.mark.parametrize(
        "wrapper", ["generate_parameters", "generation_parameters", "generate_kwargs", None]
    )
    @pytest.mark.parametrize("task", [name for name, kind in TASKS.items() if kind.generates])
    def test_parameters_of_generation_in_every_wrapper(self, task: str, wrapper: str | None) -> None:
        wanted = {"max_new_tokens": 5, "num_beams": 2}
        body = {**TASKS[task].sample, "parameters": {wrapper: wanted} if wrapper else wanted}
        made = planned(task, body).call.parameters
        assert {name: made[name] for name in wanted} == wanted

    def test_a_language_may_stand_among_the_parameters_of_generation(self) -> None:
        body = {"inputs": SOUND, "parameters": {"generate_kwargs": {"language": "fr", "task": "translate"}}}
        made = planned("automatic-speech-recognition", body).call.parameters
        assert made == {"language": "fr", "task": "translate"}

    def test_parameters_of_other_servers_that_ask_for_nothing(self) -> None:
        nothing = {
            "best_of": None, "decoder_input_details": False, "details": True, "do_sample": False, "max_new_tokens": 20,
            "repetition_penalty": None, "return_full_text": False, "seed": None, "stop_sequences": [], "temperature": None,
            "top_k": None, "top_p": None, "truncate": None, "typical_p": None, "watermark": False,
        }  # fmt: skip
        made = planned(
            "text-generation", {"inputs": "a", "parameters": nothing, "stream": False}
        ).call.parameters
        assert made == {
            "details": True, "do_sample": False, "max_new_tokens": 20, "return_full_text": False, "stream": False,
        }  # fmt: skip
        with pytest.raises(Invalid, match=r"parameters\.grammar"):
            planned("text-generation", {"inputs": "a", "parameters": {"grammar": {"type": "json"}}})

    def test_a_conversation_is_one_item(self) -> None:
        talk = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
        assert request("text-generation", talk).call.inputs == [[{"role": "user", "content": "hi"}]]
        both = request("text-generation", [talk, "a"])
        assert both.call.inputs == [[{"role": "user", "content": "hi"}], "a"]
        seen = [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}],
            }
        ]
        assert request("image-text-to-text", {"messages": seen}).call.blobs == [PNG]


@pytest.mark.parametrize(
    ("task", "inputs", "parameters", "field"),
    [
        ("summarization", 5, {}, "inputs"),
        ("summarization", [], {}, "inputs"),
        ("summarization", ["a", None], {}, "inputs[1]"),
        ("summarization", "a", {"max_new_tokens": 0}, "parameters.max_new_tokens"),
        ("summarization", "a", {"max_new_tokens": True}, "parameters.max_new_tokens"),
        ("summarization", "a", {"temperature": 0}, "parameters.temperature"),
        ("summarization", "a", {"num_beams": 1_000}, "parameters.num_beams"),
        ("summarization", "a", {"num_return_sequences": 2}, "parameters.num_return_sequences"),
        ("summarization", "a", {"generate_kwargs": {"top_p": 2}}, "parameters.generate_kwargs.top_p"),
        ("summarization", "a", {"generate_kwargs": 1}, "parameters.generate_kwargs"),
        ("summarization", "a", {"wrong": 1}, "parameters.wrong"),
        ("text-generation", [{"role": "user"}], {}, "inputs[0].content"),
        ("text-generation", ["a", "b"], {"stream": True}, "stream"),
        ("text-generation", "a", {"stop": ["a"] * 17}, "parameters.stop"),
        ("zero-shot-classification", "a", {}, "parameters.candidate_labels"),
        ("zero-shot-classification", "a", {"candidate_labels": []}, "parameters.candidate_labels"),
        ("table-question-answering", {"query": "a", "table": {"a": ["1"], "b": []}}, {}, "inputs.table"),
        ("table-question-answering", {"query": "a", "table": {"a": [[1]]}}, {}, "inputs.table.a[0]"),
        ("question-answering", {"question": "", "context": "a"}, {}, "inputs.question"),
        ("automatic-speech-recognition", {"raw": [0.0], "sampling_rate": 1}, {}, "inputs"),
        (
            "document-question-answering",
            {"image": PICTURE, "question": "a", "word_boxes": [["a", [0, 0, 2_000, 1]]]},
            {},
            "inputs.word_boxes[0][1]",
        ),
        ("text-to-image", ["a", "b"], {}, "inputs"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(task: str, inputs: Any, parameters: dict[str, Any], field: str) -> None:
    with pytest.raises((Invalid, TooLarge)) as caught:
        request(task, inputs, parameters)
    assert caught.value.field == field


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
    | st.sampled_from([PICTURE, "data:,", "user"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.text(max_size=5)
        | st.sampled_from(["image", "images", "audio", "text", "question", "query", "table", "role", "content", "type", "$blob"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
NAMES = st.sampled_from(
    sorted(
        {name for kind in TASKS.values() for name in kind.parameters}
        | {"max_new_tokens", "stop", "generate_kwargs", "x"}
    )
)


@settings(max_examples=400)
@given(
    task=st.sampled_from(sorted(TASKS)),
    inputs=JSON,
    parameters=st.dictionaries(NAMES, JSON, max_size=3),
    dialect=st.sampled_from(Dialect),
    accept=st.text(alphabet="imagewv/*;q=.01, jsoplct", max_size=40),
)
def test_bad_requests_are_refused_and_nothing_else(
    task: str, inputs: Any, parameters: Any, dialect: Dialect, accept: str
) -> None:
    with suppress(InletError):
        made = request(task, inputs, parameters, dialect, accept)
        orjson.dumps([made.call.inputs, made.call.parameters])  # as it goes to the worker


@settings(max_examples=200)
@given(
    body=st.binary(max_size=200),
    kind=st.sampled_from(["", "image/png", "application/json", "text/plain", "audio/wav"]),
)
def test_bad_bodies_are_refused_and_nothing_else(body: bytes, kind: str) -> None:
    for task in ("image-classification", "text-generation"):
        with suppress(InletError):
            planned(task, body, content_type=kind)


class TestAccept:
    @pytest.mark.parametrize(
        ("header", "best"),
        [
            ("", "application/json"),
            ("*/*", "application/json"),
            ("image/*", "image/png"),
            ("image/jpeg", "image/jpeg"),
            ("IMAGE/JPEG;q=0.5, image/png;q=0.4", "image/jpeg"),
            ("application/json, text/plain, */*", "application/json"),
            ("application/json;q=0, */*;q=0.1", "image/png"),
            ("image/png;q=oops", "image/png"),
            ("nonsense", "application/json"),
        ],
    )
    def test_the_best_offer(self, header: str, best: str) -> None:
        assert preferred(header, ("application/json", "image/png", "image/jpeg")) == best

    def test_nothing_on_offer(self) -> None:
        with pytest.raises(Invalid, match="Accept"):
            request("depth-estimation", PICTURE, accept="audio/wav")
        with pytest.raises(Invalid, match="Accept"):
            request("depth-estimation", [PICTURE, PICTURE], accept="image/png")

    @pytest.mark.parametrize(
        ("dialect", "accept", "kind"),
        [
            (Dialect.TOOLKIT, "", "application/json"),
            (Dialect.TOOLKIT, "image/png", "image/png"),
            (Dialect.API, "*/*", "image/png"),
            (Dialect.API, "application/json", "application/json"),
        ],
    )
    def test_pictures_are_bytes_where_clients_expect_them(
        self, dialect: Dialect, accept: str, kind: str
    ) -> None:
        made = request("text-to-image", "a cat", {}, dialect, accept)
        assert made.call.parameters == {"content_type": kind}
        blob = Blob(b"bytes", "image/png")
        shaped = made.shape(Result([{"$blob": 0}], [blob]))
        assert shaped == (blob if kind == "image/png" else base64.b64encode(b"bytes").decode())


class TestShapes:
    def test_texts_are_one_flat_list(self) -> None:
        made = request("translation", ["a", "b"])
        assert made.shape(Result([["x"], ["y"]], [])) == [
            {"translation_text": "x"},
            {"translation_text": "y"},
        ]

    def test_prompts_come_back_unless_unwanted(self) -> None:
        row = {"text": " b", "finish_reason": "length", "generated_tokens": 1, "tokens": []}
        assert request("text-generation", "a").shape(Result([[row]], [])) == [{"generated_text": "a b"}]
        bare = request("text-generation", ["a"], {"return_full_text": False, "details": True, "seed": 3})
        ((told,),) = bare.shape(Result([[row]], []))
        assert told["generated_text"] == " b"
        assert told["details"] == {
            "finish_reason": "length", "generated_tokens": 1, "seed": 3, "prefill": [], "tokens": [],
        }  # fmt: skip

    def test_tables_have_an_aggregator_for_the_clients(self) -> None:
        inputs = {"query": "a", "table": {"a": ["1"]}}
        row = {"answer": "1"}
        assert request("table-question-answering", inputs).shape(Result([row], [])) == row
        told = request("table-question-answering", inputs, {}, Dialect.API).shape(Result([row], []))
        assert told == {"answer": "1", "coordinates": [], "cells": [], "aggregator": "NONE"}

    def test_arrays_are_arrays(self) -> None:
        made = request("feature-extraction", "a")
        array = Blob(bytes(4 * 6), FLOATS)
        shaped = made.shape(Result([{"$blob": 0, "shape": [2, 3]}], [array]))
        assert shaped.shape == (1, 2, 3)
        made = request("feature-extraction", "a", {}, Dialect.API)
        assert made.shape(Result([{"$blob": 0, "shape": [2, 3]}], [array])).shape == (2, 3)

    def test_a_field_is_named_as_the_caller_wrote_it(self) -> None:
        one, two = request("image-classification", PICTURE), request("image-classification", [PICTURE])
        assert one.refusal("inputs[0].image", "x").field == "inputs.image"
        assert two.refusal("inputs[0]", "x").field == "inputs[0]"
        assert one.refusal("parameters.top_k", "x").field == "parameters.top_k"
