"""The replica's HTTP interface, against a real process: routes, bodies, headers, refusals."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from inlet.runtime.body import MAX_BODY_BYTES
from tests.runtime.process import Replica, eventually

Get = Callable[[str, str], Replica]


@pytest.fixture
def classifier(replica: Get) -> Replica:
    return replica("topics", "text-classification")


def test_health_info_and_metrics(classifier: Replica) -> None:
    for path in ("/", "/health"):
        answer = classifier.http.get(path)
        assert (answer.status_code, answer.text) == (200, "Ok")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    info = classifier.http.get("/info").json()
    assert info["task"] == "text-classification"
    assert info["precision"] == "fp32"
    assert info["max_input_length"] == 64
    assert info["labels"] == ["sport", "food", "weather"]
    assert info["buckets"] == [8, 16, 24, 32, 40, 48, 56, 64, 72]
    before = classifier.http.get("/metrics").text
    assert classifier.ask({"inputs": ["a", "b"]})
    assert classifier.post({"inputs": 1}).status_code == 400
    after = classifier.http.get("/metrics").text

    def count(text: str, name: str) -> float:
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    for name, more in (
        ('inlet_replica_requests_total{status="200"}', 1),
        ('inlet_replica_requests_total{status="400"}', 1),
        ("inlet_replica_request_seconds_count", 2),
        ("inlet_replica_batch_size_sum", 2),
        ("inlet_replica_tokens_total", 6),
    ):
        assert count(after, name) - count(before, name) == more, name
    assert count(after, "inlet_replica_waiting_texts") == 0


def test_every_prediction_route_gives_the_same_answer(classifier: Replica) -> None:
    body = {"inputs": "the team won"}
    expected = classifier.ask(body)
    for path in ("/predict", "/pipeline/text-classification", "/pipeline/sentiment-analysis"):
        assert classifier.post(body, path).json() == expected


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/nothing", 404),
        ("POST", "/pipeline/fill-mask", 404),
        ("GET", "/predict", 405),
        ("DELETE", "/", 405),
        ("POST", "/health", 405),
        ("OPTIONS", "/", 405),
    ],
)
def test_other_routes_are_refused_with_a_reason(
    classifier: Replica, method: str, path: str, status: int
) -> None:
    answer = classifier.http.request(method, path, json={"inputs": "a"})
    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)


def test_answers_say_how_they_were_made(classifier: Replica) -> None:
    headers = classifier.post({"inputs": "snow"}).headers
    assert headers["content-type"] == "application/json"
    assert headers["x-compute-type"] == "cpu"
    assert headers["x-compute-characters"] == "4"
    assert headers["x-inlet-precision"] == "fp32"
    assert float(headers["x-compute-time"]) > 0
    assert "x-inlet-draining" not in headers


ALL = {"parameters": {"top_k": None}}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "inputs: missing"),
        ({"inputs": None}, "inputs: missing"),
        ({"inputs": 3}, "inputs: expected a string or a list of strings, got a number"),
        ({"inputs": {"a": 1}}, "inputs.text: expected a string, got null"),
        ({"inputs": ["a", "b", "c", 4]}, "inputs[3]: expected a string, got a number"),
        ({"inputs": ["a", ["b"]]}, "inputs[1]: expected a string, got a list"),
        ({"inputs": "a", "parameters": []}, "parameters: expected an object, got a list"),
        ({"inputs": "a", "parameters": {"topk": 1}}, "parameters.topk: this task has no such parameter; it takes"),
        ({"inputs": "a", "parameters": {"top_k": "2"}}, "parameters.top_k: expected a whole number, got a string"),
        ({"inputs": "a", "parameters": {"top_k": True}}, "parameters.top_k: expected a whole number, got a boolean"),
        ({"inputs": "a", "parameters": {"top_k": 0}}, "parameters.top_k: must be at least 1, got 0"),
        ({"inputs": "a", "parameters": {"top_k": 2.5}}, "parameters.top_k: expected a whole number, got 2.5"),
        ({"inputs": "a", "parameters": {"top_k": -(2**64)}}, "parameters.top_k: must be at least 1, got -1.8"),
        ({"inputs": "a", "parameters": {"function_to_apply": "tanh"}}, "parameters.function_to_apply: expected one of"),
        ({"inputs": "a", "parameters": {"truncation": "some"}}, "parameters.truncation: expected one of"),
        ({"inputs": "a", "parameters": {"padding": 3}}, "parameters.padding: expected true or false, got a number"),
        ({"inputs": "snow " * 200}, "inputs: 202 tokens, more than the 72 that this model takes"),
        ({"inputs": ["a", "snow " * 200]}, "inputs[1]: 202 tokens"),
    ],
)  # fmt: skip
def test_bad_requests_name_the_field(classifier: Replica, body: dict[str, Any], problem: str) -> None:
    answer = classifier.post(body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(problem)


@pytest.mark.parametrize(
    ("model", "task", "body", "problem"),
    [
        ("entities", "token-classification", {"inputs": "a", "parameters": {"aggregation_strategy": "best"}},
         "parameters.aggregation_strategy: expected one of average, first, max, none, simple, got 'best'"),
        ("entities", "token-classification", {"inputs": "a", "parameters": {"ignore_labels": ["O", 1]}},
         "parameters.ignore_labels[1]: expected a string, got a number"),
        ("entities", "token-classification", {"inputs": "a", "parameters": {"stride": 2}},
         "parameters.stride: windows overlap"),
        ("entities", "token-classification", {"inputs": "a", "parameters": {"stride": 62, "aggregation_strategy": "max"}},
         "parameters.stride: must be less than 62"),
        ("entities", "token-classification", {"inputs": "a " * 90}, "inputs: 92 tokens"),
        ("minilm", "sentence-similarity", {"inputs": "a"}, "inputs: expected {"),
        ("minilm", "sentence-similarity", {"inputs": {"source_sentence": "a"}},
         "inputs.sentences: expected a list of strings, got null"),
        ("minilm", "sentence-similarity", {"inputs": {"source_sentence": "a", "sentences": ["b", None]}},
         "inputs.sentences[1]: expected a string, got null"),
        ("minilm", "sentence-embeddings", {"inputs": {"sentence": "a"}}, "inputs.sentences: expected a string or"),
        ("minilm", "feature-extraction", {"inputs": "a", "normalize": "yes"},
         "parameters.normalize: expected true or false"),
        ("minilm", "feature-extraction", {"inputs": "a", "dimensions": 385}, "parameters.dimensions: the model has 384"),
        ("minilm", "feature-extraction", {"inputs": "a", "prompt_name": "query"},
         "parameters.prompt_name: this model has no prompt 'query'; it has: none"),
        ("minilm", "feature-extraction", {"inputs": "a " * 300, "truncate": False}, "inputs: 302 tokens, more than the 256"),
        ("minilm", "feature-extraction", {"inputs": "a", "parameters": {"return_tensors": True}},
         "parameters.return_tensors: this task has no such parameter"),
        ("bare", "feature-extraction", {"inputs": "a", "normalize": True},
         "parameters.normalize: this model says nothing about pooling"),
    ],
)  # fmt: skip
def test_each_task_names_the_field(
    replica: Get, model: str, task: str, body: dict[str, Any], problem: str
) -> None:
    answer = replica(model, task).post(body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(problem)


def test_empty_lists_and_harmless_extras_are_fine(classifier: Replica) -> None:
    assert classifier.ask({"inputs": []}) == []
    body = {"inputs": "snow", "options": {"wait_for_model": True}, "parameters": None, "stream": False}
    assert classifier.ask(body) == classifier.ask({"inputs": "snow", "parameters": {"padding": True}})
    # parameters beside inputs, and in the URL when the body has none
    best_two = classifier.ask({"inputs": "snow", "parameters": {"top_k": 2}})
    assert classifier.ask({"inputs": "snow", "top_k": 2}) == best_two
    assert classifier.http.post("/?top_k=2", json={"inputs": "snow"}).json() == best_two


TEXT = '{"inputs": "näive café snow"}'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", TEXT.encode()),
        ("application/json; charset=UTF-8", TEXT.encode()),
        ("Application/JSON;charset=utf8", TEXT.encode()),
        ("application/json; charset=latin-1", TEXT.encode("latin-1")),
        ('application/json; charset="utf-16"', TEXT.encode("utf-16")),
        ("application/octet-stream", TEXT.encode()),
        ("application/x-www-form-urlencoded", b"\n " + TEXT.encode()),
        ("", TEXT.encode()),
        (None, TEXT.encode()),
    ],
)
def test_bodies_are_read_however_they_are_announced(
    classifier: Replica, content_type: str | None, body: bytes
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = classifier.http.post("/", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json() == classifier.ask({"inputs": "näive café snow"})


@pytest.mark.parametrize(
    "accept", ["", "*/*", "image/*", "application/json, text/plain;q=0.5, */*", "nonsense"]
)
def test_any_accept_gets_json(classifier: Replica, accept: str) -> None:
    assert classifier.post({"inputs": "a"}, accept=accept).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("headers", "body", "status", "problem"),
    [
        ({"content-type": "application/json"}, b"{", 400, "the body is not valid JSON"),
        ({"content-type": "application/json"}, b"", 400, "the body is not valid JSON"),
        ({"content-type": "application/json"}, b'["a"]', 400, "the body must be a JSON object"),
        ({"content-type": "application/json"}, b'{"inputs": "\xff"}', 400, "the body is not valid JSON"),
        ({"content-type": "application/json"}, b'{"inputs": "\\ud800"}', 400, "the body is not valid JSON"),
        ({"content-type": "application/json; charset=ascii"}, TEXT.encode(), 400, "the body is not valid ascii"),
        ({"content-type": "application/json; charset=klingon"}, TEXT.encode(), 415, "character set 'klingon'"),
        ({"content-type": "text/csv"}, b"a,b", 415, "content type 'text/csv'"),
        ({"content-type": "image/png"}, b"\x89PNG", 415, "content type 'image/png'"),
        ({"content-type": "application/octet-stream"}, b"\x89PNG", 415, "the body is not JSON"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, b"\x1f\x8b", 415, "content-encoding"),
    ],
)  # fmt: skip
def test_other_bodies_are_refused(
    classifier: Replica, headers: dict[str, str], body: bytes, status: int, problem: str
) -> None:
    answer = classifier.http.post("/", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(problem)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(classifier: Replica) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(classifier.socket))
        raw.sendall(f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode())
        assert raw.recv(1000).startswith(b"HTTP/1.1 413")

    def endless() -> Any:
        while True:
            yield b" " * 1_000_000

    try:
        answer = classifier.http.post("/", content=endless(), headers={"content-type": "application/json"})
        assert answer.status_code == 413
    except (httpx.WriteError, httpx.ReadError):
        pass  # answered and closed while this side was still sending
    assert classifier.ask({"inputs": "a"})


def read_answer(raw: socket.socket) -> int:
    """The status of one answer, read to its end."""
    answer = http.client.HTTPResponse(raw)
    answer.begin()
    answer.read()
    return answer.status


@pytest.mark.parametrize("chunked", [False, True])
def test_a_caller_that_sends_all_of_a_too_large_body_gets_the_refusal(
    classifier: Replica, chunked: bool
) -> None:
    """A closed connection would be a broken pipe to it, and a 502 behind a router."""
    body = b" " * (4 * MAX_BODY_BYTES)
    head = f"content-length: {len(body)}"
    if chunked:
        head, body = "transfer-encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(classifier.socket))
        raw.sendall(f"POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n".encode())
        raw.sendall(body)
        assert read_answer(raw) == 413
        raw.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        assert read_answer(raw) == 200


def test_a_text_that_is_too_long_for_any_model_is_refused_before_it_is_tokenized(classifier: Replica) -> None:
    answer = classifier.post({"inputs": ["a", "a " * 500_001], "parameters": {"truncation": True}})
    assert answer.status_code == 413
    assert answer.json()["error"].startswith("inputs[1]: 1000002 characters, more than 1000000")


def test_a_caller_that_hangs_up_is_dropped_before_its_texts_run(replica: Get) -> None:
    features = replica("minilm", "feature-extraction")
    many = features.http.build_request(
        "POST", "/", json={"inputs": ["word " * 300] * 2000, "normalize": True}
    )
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(features.socket))
        head = f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {len(many.content)}\r\n\r\n"
        raw.sendall(head.encode() + many.content)
        # Many seconds of work, so that most of it is still to be done however long this side takes.
        eventually(lambda: _metric(features, "inlet_replica_waiting_texts") > 1000)
        # a short text takes its turn instead of waiting for the whole list
        assert features.ask({"inputs": "short", "normalize": True})
        assert _metric(features, "inlet_replica_waiting_texts") > 500
    eventually(lambda: _metric(features, "inlet_replica_waiting_texts") == 0)
    assert _metric(features, "inlet_replica_dropped_texts_total") > 500
    assert features.ask({"inputs": "short", "normalize": True})


def _metric(replica: Replica, name: str) -> float:
    lines = replica.http.get("/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))
