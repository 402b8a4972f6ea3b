"""Several models on one replica: who is asked, what is listed, and what is in memory when not all of them fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.reference import Reference
from tests.runtime.process import Replica, eventually

LARGE = ("a", "b", "c")
TWO_FIT = 500_000_000  # bytes: each takes some 150 MB, and what all share 70
TEXT = {"inputs": "a cold wind brings snow to the hills"}  # which the model was trained on


def large(source: Path, folder: Path, factor: float) -> None:
    """A model of 90 MB that answers differently for each factor."""
    shutil.copytree(source, folder)
    with (folder / "model.safetensors").open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        begin, end = json.loads(file.read(size))["embeddings.LayerNorm.weight"]["data_offsets"]
        file.seek(8 + size + begin)
        values = np.frombuffer(file.read(end - begin), np.float32) * np.float32(factor)
        file.seek(8 + size + begin)
        file.write(values.tobytes())


@pytest.fixture(scope="module")
def many(made: Reference, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """Serves the large ones, two of which fit; two small ones, one that cannot be downloaded, and one that is broken."""
    folder = tmp_path_factory.mktemp("many")
    for number, name in enumerate(LARGE):
        large(made.minilm, folder / name, 1 + number / 4)
    (folder / "broken").mkdir()
    shutil.copy(made.model("topics") / "config.json", folder / "broken")
    listed = [
        *({"repository": str(folder / name), "task": "feature-extraction"} for name in LARGE),
        {"model_id": "team/topics", "repository": str(made.model("topics")), "task": "text-classification"},
        {"repository": str(made.model("entities")), "task": "token-classification"},
        {"repository": "acme/away", "revision": "0" * 40, "task": "text-classification"},
        {"repository": str(folder / "broken"), "task": "text-classification"},
    ]
    flags = ("--vcpus", "1", "--memory", str(TWO_FIT), "--cache", str(folder / "cache"))
    env = {"INLET_SERVE_MODELS": json.dumps(listed), "HF_ENDPOINT": "http://127.0.0.1:9"}
    with Replica(folder, folder / "a", "feature-extraction", *flags, env=env) as replica:
        yield replica.ready()
    for name in LARGE:  # pytest would keep them
        shutil.rmtree(folder / name)


def rows(replica: Replica) -> dict[str, Any]:
    return {row["model_id"]: row for row in replica.http.get("/models").json()["models"]}


def answered(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_request_goes_to_the_model_that_its_path_or_body_names(many: Replica) -> None:
    topics = answered(many.post(TEXT, "/models/team/topics"))
    assert topics[0]["label"] == "weather"
    for path, body in (
        ("/models/team/topics/", TEXT),
        ("/models/team%2Ftopics/predict", TEXT),
        ("/models/team/topics/pipeline/text-classification", TEXT),
        ("/pipeline/text-classification", TEXT | {"model_id": "team/topics"}),
        ("/predict", TEXT | {"model": "team/topics"}),
        ("/", TEXT | {"model_id": "team/topics", "model": "a"}),
    ):
        assert answered(many.post(body, path)) == topics, path
    spelled = json.dumps(TEXT | {"model_id": "team/topics"}).encode("utf-16")
    answer = many.http.post(
        "/", content=spelled, headers={"content-type": "application/json; charset=utf-16"}
    )
    assert answered(answer) == topics
    vectors = answered(many.post({"inputs": TEXT["inputs"]}, "/models/a/embed"))
    assert vectors == answered(many.post(TEXT | {"model": "a"}, "/embed"))
    found = answered(many.post({"input": TEXT["inputs"], "model": "a"}, "/v1/embeddings"))
    assert found["data"][0]["embedding"] == pytest.approx(vectors[0], abs=1e-6)
    tensor = {"name": "inputs", "shape": [1], "datatype": "BYTES", "data": [TEXT["inputs"]]}
    inferred = answered(many.post({"inputs": [tensor]}, "/v2/models/team/topics/infer"))
    assert inferred["model_name"] == "team/topics"
    unknown = many.post({"input": "x", "model": "other"}, "/v1/embeddings")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (400, "invalid_request_error")
    own = answered(many.post(TEXT))
    assert own == answered(many.post(TEXT | {"model": "a"})) != topics
    ids = "a, b, c, team/topics, entities, acme/away, broken"
    for path, body, status, words in (
        ("/models/other/predict", TEXT, 404, f"there is no model at /models/other/predict; there are: {ids}"),
        ("/v2/models/other/infer", TEXT, 404, f"there is no model at /v2/models/other/infer; there are: {ids}"),
        ("/", TEXT | {"model_id": "other"}, 400, f"model_id: there is no model 'other'; there are: {ids}"),
        ("/", TEXT | {"model": 3}, 400, f"model: expected a string, got a number; there are: {ids}"),
        ("/", {"model_id": "team/topics"}, 400, 'inputs: missing; send {"inputs": …}'),
        ("/pipeline/text-classification", TEXT, 404, "this endpoint does feature-extraction, not 'text-classification'"),
        ("/models/team/topics/nothing", TEXT, 404, "the model 'team/topics' has nothing for POST at /nothing"),
    ):  # fmt: skip
        answer = many.post(body, path)
        assert (answer.status_code, answer.json()["error"]) == (status, words)
    assert many.http.get("/models/other").status_code == 404
    assert many.http.put("/models/team/topics", json=TEXT).headers["allow"] == "GET, POST"


def test_what_there_is_is_listed_and_counted(many: Replica) -> None:
    before = rows(many)["entities"]
    answered(many.post(TEXT | {"model_id": "entities"}))
    listed = rows(many)
    row = listed["entities"]
    assert row["requests"] == before["requests"] + 1
    assert (row["state"], row["task"], row["revision"]) == ("ready", "token-classification", None)
    assert row["last_used"] > 1.7e9
    assert row["load_seconds"] > 0
    assert many.http.get("/models/entities").json() == row
    assert many.http.get("/models/entities/info").json()["task"] == "token-classification"
    assert [entry["model_id"] for entry in many.http.get("/info").json()["models"]] == list(listed)
    assert [entry["id"] for entry in many.http.get("/v1/models").json()["data"]] == list(listed)
    metrics = many.http.get("/metrics").text
    assert f'inlet_replica_model_requests_total{{model_id="entities"}} {row["requests"]:.1f}' in metrics
    assert f'inlet_replica_model_loads_total{{model_id="entities"}} {row["loads"]:.1f}' in metrics


def test_the_least_recently_used_one_makes_room(many: Replica) -> None:
    for name in ("a", "b", "a"):
        answered(many.post(TEXT | {"model_id": name}))
    before = rows(many)
    assert (before["a"]["state"], before["b"]["state"]) == ("ready", "ready")
    answered(many.post(TEXT | {"model_id": "c"}))
    after = rows(many)
    assert (after["a"]["state"], after["b"]["state"], after["c"]["state"]) == ("ready", "unloaded", "ready")
    assert after["b"]["evictions"] == before["b"]["evictions"] + 1
    assert 'model_resident_bytes{model_id="b"} 0.0' in many.http.get("/metrics").text


def test_all_answer_rightly_while_they_push_each_other_out(many: Replica) -> None:
    names = (*LARGE, "team/topics", "entities")
    expected = {name: answered(many.post(TEXT, f"/models/{name}")) for name in names}
    assert len({json.dumps(value) for value in expected.values()}) == len(names)
    evictions = sum(row["evictions"] for row in rows(many).values())
    wanted = [names[number * 7 % 5] for number in range(12)]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda name: answered(many.post(TEXT | {"model_id": name})), wanted))
    for name, answer in zip(wanted, found, strict=True):
        assert answer == expected[name]
    assert sum(row["evictions"] for row in rows(many).values()) > evictions


def test_one_that_cannot_be_loaded_says_why_and_keeps_nobody_waiting(many: Replica) -> None:
    answer = many.post(TEXT | {"model_id": "acme/away"}, **{"x-inlet-timeout": "0.2"})
    assert answer.status_code == 429
    assert "the model 'acme/away' is downloading" in answer.json()["error"]
    broken = many.post(TEXT | {"model_id": "broken"})
    assert broken.status_code == 500
    assert "the model 'broken' could not be loaded: the model has no safetensors weights" in broken.text
    answered(many.post(TEXT | {"model_id": "b"}))
    listed = rows(many)
    assert listed["acme/away"]["state"] == "downloading"  # nobody waits for it any more, and it goes on
    assert listed["broken"]["state"] == "failed"
    assert "no safetensors weights" in listed["broken"]["reason"]
    assert many.health().status_code == 200


def test_it_ends_while_a_model_is_still_on_its_way(many: Replica) -> None:
    many.post(TEXT | {"model_id": "acme/away"}, **{"x-inlet-timeout": "0"})
    eventually(lambda: rows(many)["acme/away"]["state"] == "downloading")
    many.terminate()
    assert many.ended() == 0
