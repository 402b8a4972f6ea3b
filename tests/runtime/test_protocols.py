"""Routes of text-embeddings-inference, OpenAI, Cohere and SageMaker: asked by their own clients, and by anything at all."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from huggingface_hub import InferenceClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inlet.runtime.protocols.table import ROUTES
from tests.reference import Reference
from tests.reference.checkpoint import load, save
from tests.runtime.process import HUB_CLIENT, Replica
from tests.runtime.served import serving

Get = Callable[[str, str], Replica]
TEXTS = ["a happy dog", "a joyful puppy", "tax law"]


@pytest.fixture
def embedder(replica: Get) -> Replica:
    return replica("minilm", "feature-extraction")


@pytest.fixture
def classifier(replica: Get) -> Replica:
    return replica("topics", "text-classification")


@pytest.fixture(scope="module")
def reranker(made: Reference, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """The classifier of topics with its first label alone: the higher the score, the more sport."""
    folder = Path(shutil.copytree(made.model("topics"), tmp_path_factory.mktemp("r") / "ranker"))
    weights = load(folder)
    save(folder, {name: t[:1] if name.startswith("classifier.") else t for name, t in weights.items()})
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    (folder / "config.json").write_text(json.dumps(config))
    with Replica(folder.parent, folder, "text-classification") as started:
        yield started.ready()


def test_official_clients_get_the_same_vectors(made: Reference) -> None:
    with serving(made.model("minilm"), "feature-extraction") as url:
        native = httpx.post(url, json={"inputs": TEXTS}, headers=HUB_CLIENT).json()
        expected = np.array(native, dtype=np.float32)
        assert expected.shape == (3, 384)

        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        packed = client.embeddings.create(model="any", input=TEXTS)
        listed = client.embeddings.create(model="any", input=TEXTS, encoding_format="float")
        for made_by in (packed, listed):
            assert [item.index for item in made_by.data] == [0, 1, 2]
            assert np.array_equal(np.array([item.embedding for item in made_by.data], np.float32), expected)
            assert (made_by.usage.prompt_tokens, made_by.model) == (15, "model")
        assert [model.id for model in client.models.list()] == ["model"]
        assert client.models.retrieve("model").id == "model"
        with pytest.raises(openai.NotFoundError, match="there is no model 'org/other'") as unknown:
            client.models.retrieve("org/other")
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError, match="the model has 384") as refused:
            client.embeddings.create(model="any", input="a", dimensions=385)
        assert (refused.value.param, refused.value.type) == ("dimensions", "invalid_request_error")

        hub = InferenceClient(model=url, token="hf_x")
        assert np.array_equal(hub.feature_extraction(TEXTS, normalize=True), expected)
        assert np.array_equal(httpx.post(f"{url}/embed", json={"inputs": TEXTS}).json(), native)


def test_official_client_compares_sentences(made: Reference, embedder: Replica) -> None:
    inputs = {"source_sentence": TEXTS[0], "sentences": TEXTS[1:]}
    with serving(made.model("minilm"), "sentence-similarity") as url:
        hub = InferenceClient(model=url, token="hf_x")
        scores = hub.sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:])
        assert httpx.post(f"{url}/similarity", json={"inputs": inputs}).json() == scores
        several = httpx.post(f"{url}/vertex", json={"instances": [{"inputs": inputs}] * 2}).json()
        assert several == {"predictions": [scores, scores]}
    assert embedder.post({"inputs": inputs}, "/similarity").json() == scores


def test_an_embedder_has_the_routes_of_tei(embedder: Replica) -> None:
    def ask(path: str, **body: Any) -> Any:
        answer = embedder.post(body, path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    one = ask("/embed", inputs=TEXTS[0])
    assert np.linalg.norm(one, axis=1) == pytest.approx([1], abs=1e-5)
    plain = ask("/embed", inputs=TEXTS[0], normalize=False)
    assert plain[0] / np.linalg.norm(plain) == pytest.approx(one[0], abs=1e-6)
    assert np.shape(ask("/embed", inputs=TEXTS, dimensions=5)) == (3, 5)
    tokens = ask("/embed_all", inputs=TEXTS[0])
    assert np.mean(tokens[0], axis=0) == pytest.approx(plain[0], abs=1e-5)

    words = ask("/tokenize", inputs=["A happy dog"])[0]
    assert [word["text"] for word in words] == ["[CLS]", "A", "happy", "dog", "[SEP]"]
    assert words[2] == {"id": 3407, "text": "happy", "special": False, "start": 2, "stop": 7}
    assert (words[0]["special"], words[0]["start"]) == (True, None)
    assert ask("/tokenize", inputs="A happy dog", add_special_tokens=False) == [words[1:-1]]
    ids = [word["id"] for word in words]
    assert ask("/decode", ids=ids) == ask("/decode", ids=[ids]) == ["a happy dog"]
    assert ask("/decode", ids=[ids], skip_special_tokens=False) == ["[CLS] a happy dog [SEP]"]
    assert ask("/embed", inputs=ids) == ask("/embed", inputs=[ids]) == one
    assert ask("/v1/embeddings", input=ids)["data"][0]["embedding"] == one[0]
    mixed = ask("/embed", inputs=[ids, TEXTS[1], ids])
    assert mixed == [one[0], ask("/embed", inputs=TEXTS[1])[0], one[0]]

    long = [101, *[3899] * 400, 102]
    assert ask("/embed", inputs=long) == ask("/embed", inputs=long[:256])
    assert ask("/embed", inputs=long, truncation_direction="Left") == ask("/embed", inputs=long[-256:])
    assert ask("/vertex", instances=[{"inputs": TEXTS[0]}, {"inputs": TEXTS[:2], "dimensions": 2}])[
        "predictions"
    ] == [one, ask("/embed", inputs=TEXTS[:2], dimensions=2)]

    for path, field in (("/embed", "inputs"), ("/embed_all", "inputs"), ("/v1/embeddings", "input")):
        headers = embedder.post({field: TEXTS[0]}, path).headers
        assert (headers["x-compute-characters"], headers["x-compute-tokens"]) == ("11", "5")
        assert headers["x-compute-type"] == "cpu"
        for name in ("compute", "total", "tokenization", "queue", "inference"):
            assert headers[f"x-{name}-time"].isdigit(), (path, name)
    info = embedder.http.get("/info").json()
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert (info["max_input_length"], info["max_client_batch_size"]) == (256, 32)
    assert (info["auto_truncate"], info["served_model_name"]) == (True, "model")
    # What its own clients cannot read `/info` without.
    counts = ("max_concurrent_requests", "max_batch_tokens", "max_batch_requests", "tokenization_workers")
    assert all(info[name] > 0 for name in counts)
    assert {"model_id", "model_sha", "model_dtype", "version", "sha", "docker_label"} < info.keys()


def test_a_classifier_has_the_routes_of_tei(classifier: Replica) -> None:
    expected = [
        [{"score": item["score"], "label": item["label"]} for item in row]
        for row in classifier.ask({"inputs": ["snow", "the team won"], "top_k": 3})
    ]
    batch = classifier.post({"inputs": [["snow"], ["the team won"]]}, "/predict")
    assert batch.json() == expected
    assert "x-compute-tokens" in batch.headers
    assert classifier.post({"inputs": "snow", "raw_scores": False}, "/predict").json() == expected[0]
    raw = classifier.post({"inputs": "snow", "raw_scores": True}, "/predict").json()
    assert [item["label"] for item in raw] == [item["label"] for item in expected[0]]
    assert sum(item["score"] for item in raw) != pytest.approx(1, abs=0.01)
    pair = classifier.ask({"inputs": {"text": "snow", "text_pair": "the team won"}, "top_k": 1})
    for body in (
        {"inputs": ["snow", "the team won"], "truncate": True},
        {"inputs": [["snow", "the team won"]]},
    ):
        answer = classifier.post(body, "/predict").json()
        assert (answer if "truncate" in body else answer[0])[0]["score"] == pair[0]["score"]
    # what both protocols could have sent is the stock container's
    assert len(classifier.post({"inputs": ["snow", "the team won"]}, "/predict").json()) == 2
    assert classifier.http.get("/info").json()["model_type"]["classifier"]["id2label"]["1"] == "food"


def test_one_label_reranks(reranker: Replica) -> None:
    texts = ["snow", "the team won", "snow and rain"]
    single = [reranker.ask({"inputs": {"text": "news", "text_pair": text}})[0]["score"] for text in texts]
    order = sorted(range(3), key=lambda index: -single[index])
    assert order[0] == 1
    expected = [{"index": index, "score": single[index]} for index in order]
    assert reranker.post({"query": "news", "texts": texts}, "/rerank").json() == expected
    shown = reranker.post(
        {"query": "news", "texts": texts, "return_text": True, "raw_scores": True}, "/rerank"
    )
    assert [item["text"] for item in shown.json()] == [texts[index] for index in order]
    assert 1 / (1 + np.exp(-shown.json()[0]["score"])) == pytest.approx(single[1], abs=1e-6)
    assert reranker.post({"instances": [{"query": "news", "texts": texts}]}, "/vertex").json() == {
        "predictions": [expected]
    }
    cohere = {
        "model": "m",
        "query": "news",
        "documents": [texts[0], {"text": texts[1]}, texts[2]],
        "top_n": 2,
    }
    for path in ("/rerank", "/v1/rerank"):
        answer = reranker.post({**cohere, "return_documents": True}, path).json()
        assert answer["results"] == [
            {"index": index, "relevance_score": single[index], "document": {"text": texts[index]}}
            for index in order[:2]
        ]
        assert answer["usage"]["total_tokens"] > 10
    assert list(reranker.http.get("/info").json()["model_type"]) == ["reranker"]


LONG = "dog " * 300


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "problem"),
    [
        ("/embed", {"inputs": ""}, 400, "Empty", "inputs: must not be empty"),
        ("/embed", {"inputs": []}, 400, "Empty", "inputs: must not be empty"),
        ("/embed", {"inputs": ["a", ""]}, 400, "Empty", "inputs[1]: must not be empty"),
        ("/embed", {}, 422, "Validation", "inputs: expected a string, token ids"),
        ("/embed", {"inputs": [[1, "a"]]}, 422, "Validation", "inputs[0][1]: expected a token id, got a string"),
        ("/embed", {"inputs": [1, -5]}, 422, "Validation", "inputs[1]: expected a token id, got -5"),
        ("/embed", {"inputs": [1, True]}, 422, "Validation", "inputs[1]: expected a token id"),
        ("/embed", {"inputs": [99_999]}, 422, "Validation", "inputs[0]: 99999 is no token: the model has 30522"),
        ("/embed", {"inputs": ["a"] * 33}, 422, "Validation", "inputs: 33 items, more than the 32"),
        ("/embed", {"inputs": "a", "normalize": 1}, 422, "Validation", "normalize: expected true or false"),
        ("/embed", {"inputs": "a", "dimensions": 385}, 422, "Validation", "dimensions: the model has 384, got 385"),
        ("/embed", {"inputs": "a", "prompt_name": "q"}, 422, "Validation", "prompt_name: this model has no prompt"),
        ("/embed", {"inputs": LONG, "truncate": False}, 422, "Validation", "inputs: 302 tokens, more than the 256"),
        ("/embed", {"inputs": [7] * 300, "truncate": False}, 422, "Validation", "inputs: 300 tokens, more than"),
        ("/embed", {"inputs": "a", "truncation_direction": "up"}, 422, "Validation", "truncation_direction: expected"),
        ("/embed_sparse", {"inputs": "a"}, 424, "Backend", "this endpoint does feature-extraction: it makes no sparse"),
        ("/rerank", {"query": "a", "texts": ["b"]}, 424, "Backend", "this endpoint does feature-extraction: it cannot"),
        ("/similarity", {"inputs": "a"}, 422, "Validation", "inputs: expected an object, got a string"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 400, "Empty", "inputs.sentences: must not"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"] * 32}}, 422, "Validation",
         "inputs.sentences: 32 items, more than the 31"),
        ("/tokenize", {"inputs": 3}, 422, "Validation", "inputs: expected a list, got a number"),
        ("/decode", {"ids": "a"}, 422, "Validation", "ids: expected a list, got a string"),
        ("/vertex", {"instances": ["a"]}, 422, "Validation", "instances[0]: expected an object, got a string"),
    ],
)  # fmt: skip
def test_tei_refuses_in_its_own_words(
    embedder: Replica, path: str, body: Any, status: int, kind: str, problem: str
) -> None:
    answer = embedder.post(body, path)
    assert (answer.status_code, answer.json()["error_type"]) == (status, kind), answer.text
    assert answer.json()["error"].startswith(problem)


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({}, "input", "expected a string, token ids"),
        ({"input": ["a"] * 2049}, "input", "2049 items, more than the 2048"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "expected one of base64, float"),
        ({"input": "a", "model": 3}, "model", "expected a string, got a number"),
        ({"input": "a", "dimensions": "3"}, "dimensions", "expected a whole number"),
        ({"input": [["a"]]}, "input[0][0]", "expected a token id, got a string"),
        ({"input": ["a", [1]]}, "input", "texts and token ids in one list"),
    ],
)
def test_openai_refuses_in_its_own_words(embedder: Replica, body: Any, field: str, problem: str) -> None:
    answer = embedder.post(body, "/v1/embeddings")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, field, None)
    assert error["message"].startswith(f"{field}: {problem}")


def test_other_bodies_and_methods_are_refused(embedder: Replica, classifier: Replica) -> None:
    def send(path: str, content: bytes, kind: str) -> httpx.Response:
        return embedder.http.post(path, content=content, headers={"content-type": kind})

    assert send("/embed", b"{", "application/json").status_code == 400
    assert send("/embed", b"[]", "application/json").json()["error_type"] == "Validation"
    assert send("/v1/embeddings", b"a", "text/plain").status_code == 415
    assert send("/v1/embeddings", b'{"input": NaN}', "application/json").status_code == 400
    assert embedder.http.get("/embed").headers["allow"] == "POST"
    assert embedder.post({}, "/v1/models").headers["allow"] == "GET"
    assert embedder.post({}, "/v2/models/a/b/c/infer").status_code == 404
    unfit = classifier.post({"input": "a"}, "/v1/embeddings")
    assert (unfit.status_code, unfit.json()["error"]["type"]) == (400, "invalid_request_error")


def test_base64_is_the_vector_in_little_endian(embedder: Replica) -> None:
    body = {"input": "a", "encoding_format": "base64", "dimensions": 3}
    packed = embedder.post(body, "/embeddings").json()["data"][0]["embedding"]
    plain = embedder.post({**body, "encoding_format": None}, "/embeddings").json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == np.array(plain, np.float32).tolist()


def test_sagemakers_client_is_understood(classifier: Replica) -> None:
    assert classifier.http.get("/ping").status_code == 200
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        "x-amzn-sagemaker-custom-attributes": "trace=1",
        "x-amzn-sagemaker-target-model": "other.tar.gz",
    }
    answer = classifier.http.post("/invocations", content=b'{"inputs": "snow"}', headers=headers)
    assert answer.json() == classifier.ask({"inputs": "snow"})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("inputs", "input", "texts", "query", "documents", "ids", "instances", "parameters", "truncate", "raw_scores",
         "truncation_direction", "prompt_name", "dimensions", "normalize", "encoding_format", "model", "top_n",
         "return_text", "outputs", "id", "add_special_tokens", "skip_special_tokens")  # fmt: skip
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", "text"]) | JSON,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
        "datatype": st.sampled_from(["BYTES", "FP32", "INT8", "BOOL", "FP16"]) | JSON,
        "data": st.lists(st.text(max_size=3) | st.integers(-300, 300), max_size=4) | JSON,
        "parameters": st.just({"binary_data_size": 4}) | JSON,
    },
)
VALUE = (
    JSON
    | st.lists(st.text(max_size=5), max_size=3)
    | st.lists(st.integers(0, 40_000), max_size=4)
    | st.lists(TENSOR, max_size=2)
)
POSTS = sorted(
    {entry.path.format(name="m", version="1") for entry in ROUTES if entry.method == "POST"} | {"/predict"}
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    path=st.sampled_from(POSTS),
    body=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), VALUE, max_size=5),
    tail=st.none() | st.binary(max_size=9),
)
def test_nothing_that_is_sent_makes_a_route_fail(
    embedder: Replica,
    classifier: Replica,
    reranker: Replica,
    path: str,
    body: dict[str, Any],
    tail: bytes | None,
) -> None:
    """Whatever comes is computed or refused with a reason, and by the same protocol."""
    content = json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    if tail is not None:
        headers["inference-header-content-length"] = str(len(content))
        content += tail
    for one in (embedder, classifier, reranker):
        answer = one.http.post(path, content=content, headers=headers)
        assert answer.status_code in (200, 400, 413, 415, 422, 424), answer.text
        if answer.status_code != 200:
            assert answer.json()["error"]
