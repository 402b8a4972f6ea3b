"""Documents to specs and back, below the HTTP layer: images, credentials, merges, and a fuzzer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inlet.core.endpoint import Person
from inlet.core.errors import Invalid
from inlet.core.intents import create
from inlet.core.spec import Visibility
from inlet.core.tasks import TASKS
from inlet.wire.v2 import Parsed, documents, parse_create, parse_update, render_endpoint

ALICE = Person("a" * 24, "alice")


def seal(value: str, stored: str | None) -> str:
    """Sealing that a test can see through; the same value keeps its sealed form."""
    sealed = f"sealed:{value[::-1]}"
    return stored if stored == sealed else sealed


def body(**model: Any) -> dict[str, Any]:
    return {
        "name": "mini",
        "type": "private",
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {
            "accelerator": "cpu",
            "instanceType": "intel-spr",
            "instanceSize": "x1",
            "scaling": {"minReplica": 1, "maxReplica": 1},
        },
        "model": {"repository": "acme/mini", "framework": "custom", **model},
    }


def answered(spec: Any, name: str = "mini") -> dict[str, Any]:
    endpoint = create(spec, id="e1", namespace="default", name=name, person=ALICE, now=0.0)
    return render_endpoint(endpoint, url="http://x", instance=None)


def test_the_vocabulary_has_one_truth() -> None:
    assert set(get_args(documents.Task)) == TASKS
    assert set(get_args(documents.TypeName)) == set(Visibility)


CONTAINER = {"url": "registry.example.com/m:1", "port": 8080}
IMAGES: list[dict[str, Any]] = [
    {"huggingface": {}},
    {"huggingface": {"env": {}}},
    {"huggingfaceNeuron": {"batchSize": 1, "neuronCache": "x", "sequenceLength": 128}},
    {"custom": {**CONTAINER, "healthRoute": "/ready"}},
    {"custom": {**CONTAINER, "health_route": "/ready", "env": {"A": "1"}}},
    {"custom": {"url": "x", "credentials": {"username": "u"}}},
    {"tgi": {**CONTAINER, "maxInputLength": 1, "disableCustomKernels": True, "quantize": "awq"}},
    {"tgiNeuron": {**CONTAINER, "hfAutoCastType": "bf16", "hfNumCores": 2}},
    {"tgiTpu": {**CONTAINER, "maxTotalTokens": 1}},
    {"tei": {**CONTAINER, "maxBatchTokens": 1, "maxConcurrentRequests": 2, "pooling": "cls"}},
    {"llamacpp": {**CONTAINER, "modelPath": "m.gguf", "ctxSize": 1, "mmprojModelPath": "p", "mode": "reranking",
                  "nGpuLayers": 1, "nParallel": 1, "pooling": "rank", "specModelPath": "s", "threadsHttp": 1}},
    {"vLLM": {**CONTAINER, "tensorParallelSize": 1, "dataParallelSize": 1, "kvCacheDtype": "fp8-e4-m3",
              "maxNumBatchedTokens": 1, "maxNumSeqs": None}},
    {"vLLMOmni": {**CONTAINER, "deployConfig": {"a": [1]}, "maxNumSeqs": 1}},
    {"vLLMNeuron": CONTAINER},
    {"sGLang": {**CONTAINER, "chunkedPrefillSize": 1, "kvCacheDtype": "fp8-e5-m2", "maxPrefillTokens": 1,
                "maxRunningRequests": 1, "tensorParallelSize": 1}},
    {"hfServe": CONTAINER},
]  # fmt: skip


@pytest.mark.parametrize("image", IMAGES)
def test_every_image_is_understood_and_echoed(image: dict[str, Any]) -> None:
    parsed = parse_create(body(image=image), seal=seal)
    assert parsed.warnings == ()
    (kind,) = image
    assert parsed.spec.workload.model.image.kind == kind
    answer = answered(parsed.spec)
    assert answer["model"]["image"] == image
    settings = image[kind]
    assert answer["healthRoute"] == (settings.get("healthRoute") or settings.get("health_route") or "/health")


def test_a_registry_password_is_sealed_kept_and_never_shown() -> None:
    image = {"custom": {**CONTAINER, "credentials": {"username": "u", "password": "hush"}}}
    spec = parse_create(body(image=image), seal=seal).spec
    shown = {"custom": {**CONTAINER, "credentials": {"username": "u", "password": None}}}
    assert answered(spec)["model"]["image"] == shown
    assert "hush" not in repr(spec)
    stored = spec.workload.model.image.settings["credentials"]
    assert stored == {"username": "u", "password": "sealed:hsuh"}

    def updated(credentials: dict[str, Any] | None, **settings: Any) -> Any:
        patch = {"model": {"image": {"custom": {**CONTAINER, **settings, "credentials": credentials}}}}
        return parse_update("mini", spec, patch, seal=seal).spec

    same = {"username": "u", "password": "hush"}
    for credentials in (same, {"username": "u", "password": None}, {"username": "u"}):
        assert updated(credentials).workload.model.image.settings["credentials"]["password"] == "sealed:hsuh"
    assert updated(same).workload == spec.workload
    other = updated({"username": "v", "password": None})
    assert other.workload.model.image.settings["credentials"] == {"username": "v", "password": None}
    assert updated(None).workload.model.image.settings["credentials"] is None
    untouched = parse_update("mini", spec, {"tags": ["x"]}, seal=seal).spec
    assert untouched.workload == spec.workload


def test_an_image_is_replaced_as_a_whole() -> None:
    spec = parse_create(body(image={"vLLM": {**CONTAINER, "maxNumSeqs": 4}}), seal=seal).spec
    patch = {"model": {"image": {"vLLM": {"url": "y"}}}}
    assert answered(parse_update("mini", spec, patch, seal=seal).spec)["model"]["image"] == {
        "vLLM": {"url": "y"}
    }
    patch = {"model": {"image": {"huggingface": {}}}}
    assert answered(parse_update("mini", spec, patch, seal=seal).spec)["model"]["image"] == {
        "huggingface": {}
    }


def test_lists_are_replaced_and_cleared() -> None:
    spec = parse_create(body(args=["--a"], command=["run"]), seal=seal).spec
    spec = parse_update("mini", spec, {"model": {"args": ["--b", "--c"]}}, seal=seal).spec
    assert (spec.workload.model.args, spec.workload.model.command) == (("--b", "--c"), ("run",))
    spec = parse_update("mini", spec, {"model": {"args": [], "command": None}}, seal=seal).spec
    assert (spec.workload.model.args, spec.workload.model.command) == ((), ("run",))
    assert answered(spec)["model"]["args"] == []


def test_absence_and_null_are_both_echoed() -> None:
    plain = answered(parse_create(body(), seal=seal).spec)
    assert "args" not in plain["model"]
    assert "cacheHttpResponses" not in plain
    assert (plain["model"]["revision"], plain["model"]["task"], plain["accountId"]) == (None, None, None)
    nulls = answered(
        parse_create(body(args=None, env=None, secrets=None, image=None, task=None), seal=seal).spec
    )
    assert nulls["model"]["args"] is None
    assert (nulls["model"]["env"], nulls["model"]["secrets"]) == ({}, {})
    assert nulls["model"]["image"] == {"huggingface": {}}


def test_many_errors_make_one_sentence() -> None:
    with pytest.raises(Invalid) as error:
        parse_create({"name": "mini"}, seal=seal)
    assert str(error.value) == "type: is required; provider: is required; compute: is required; and 1 more"


# Fuzzing: nothing but Invalid ever comes out, and what is accepted is stable.


def attempt(parse: Callable[[], Parsed]) -> tuple[Parsed | None, str]:
    try:
        return parse(), ""
    except Invalid as error:
        return None, str(error)


_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["aws", "main", "custom", "/x", "public", "a\0b", "hardwareUsage"])
)  # fmt: skip
_names = st.text(max_size=6) | st.sampled_from(
    ["huggingface", "custom", "url", "credentials", "username", "password", "env", "scaling", "measure", "metric",
     "hardwareUsage", "pendingRequests", "minReplica", "status", "name", "id", "PATH", "A"]
)  # fmt: skip
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """A good body with up to three places replaced, added or removed."""
    value = copy.deepcopy(
        body(
            env={"A": "1"},
            secrets={"S": "hush"},
            image={"custom": {**CONTAINER, "credentials": {"username": "u", "password": "hush"}}},
        )
    )
    for _ in range(draw(st.integers(0, 3))):
        node: Any = value
        while True:
            key = draw(st.sampled_from(sorted(node)) | _names) if node else draw(_names)
            if isinstance(node.get(key), dict) and draw(st.booleans()):
                node = node[key]
                continue
            if draw(st.booleans()):
                node[key] = draw(_values)
            else:
                node.pop(key, None)
            break
    return value


@settings(max_examples=300)
@given(spoilt())
def test_a_create_is_refused_or_stable(value: dict[str, Any]) -> None:
    parsed, refusal = attempt(lambda: parse_create(value, seal=seal))
    if parsed is None:
        assert "hush" not in refusal
        return
    answer = json.loads(json.dumps(answered(parsed.spec, parsed.name)))
    assert "hush" not in json.dumps(answer)
    again = parse_update(parsed.name, parsed.spec, answer, seal=seal)
    assert again.spec.workload == parsed.spec.workload
    assert again.spec.scaling == parsed.spec.scaling
    assert parse_update(parsed.name, parsed.spec, {}, seal=seal).spec == parsed.spec


@settings(max_examples=300)
@given(st.dictionaries(_names, _values, max_size=4) | spoilt())
def test_an_update_is_refused_or_stable(patch: dict[str, Any]) -> None:
    spec = parse_create(body(secrets={"S": "hush"}), seal=seal).spec
    parsed, refusal = attempt(lambda: parse_update("mini", spec, patch, seal=seal))
    if parsed is None:
        assert "hush" not in refusal
        return
    assert "hush" not in repr(parsed.spec)
    assert parse_update("mini", parsed.spec, patch, seal=seal).spec == parsed.spec, (
        "merging twice is merging once"
    )
