"""The Open Inference Protocol: every kind of model, by Triton's own client and by hand."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

from tests.environments import environment
from tests.reference import Reference
from tests.runtime.process import HUB_CLIENT, Replica
from tests.runtime.served import serving

Get = Callable[[str, str], Replica]
TABLE = "tabular-classification"
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 5.0, 2.0]]
INFER = "/v2/models/m/infer"


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y = load_iris(return_X_y=True, as_frame=True)
    x.columns = NAMES
    folder = tmp_path_factory.mktemp("iris")
    words = np.array(["setosa", "versicolor", "virginica"])[y]
    skops.io.dump(LogisticRegression(max_iter=1000).fit(x, words), folder / "model.skops")
    return folder


def by_triton(kind: str, url: str) -> Any:
    python = environment("triton", "tritonclient[http]==2.73.0", "numpy==2.4.6")
    command = [python, Path(__file__).with_name("triton.py"), kind, url]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.e2e
def test_tritons_client_gets_what_the_native_route_says(made: Reference, replica: Get, iris: Path) -> None:
    texts = ["snow", "the team won näive"]
    with serving(made.model("topics"), "text-classification") as url:
        found = by_triton("texts", url)
    native = replica("topics", "text-classification").ask({"inputs": texts}, **HUB_CLIENT)
    assert found["outputs"][0] == ["object", [[item["label"] for item in row] for row in native]]
    assert found["outputs"][1] == ["float32", [[pytest.approx(row[0]["score"], abs=1e-7)] for row in native]]
    assert found["metadata"]["platform"] == "inlet_openvino"

    with serving(made.model("minilm"), "feature-extraction") as url:
        ((dtype, vectors),) = by_triton("texts", url)["outputs"]
    native = replica("minilm", "feature-extraction").ask({"inputs": texts}, **HUB_CLIENT)
    assert dtype == "float32"
    assert np.array_equal(np.array(vectors, np.float32), np.array(native, np.float32))

    with serving(iris, TABLE) as url:
        found = by_triton("table", url)
    assert found["outputs"][0] == ["object", ["setosa", "virginica"]]
    dtype, probabilities = found["outputs"][1]
    assert (dtype, np.argmax(probabilities, axis=1).tolist()) == ("float64", [0, 2])
    assert found["metadata"]["inputs"] == [{"name": "inputs", "datatype": "FP64", "shape": [-1, 4]}]


def tensor(name: str, datatype: str, shape: list[int], data: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data, **more}


def outputs(replica: Replica, *inputs: Any, **more: Any) -> dict[str, tuple[str, list[int], Any]]:
    answer = replica.post({"inputs": list(inputs), **more}, INFER)
    assert answer.status_code == 200, answer.text
    return {
        item["name"]: (item["datatype"], item["shape"], item["data"]) for item in answer.json()["outputs"]
    }


def test_tables_are_a_matrix_or_a_tensor_for_each_column(iris: Path, tmp_path: Path) -> None:
    with Replica(tmp_path, iris, TABLE) as served:
        served.ready()
        expected = {"predict": ("BYTES", [2], ["setosa", "virginica"])}
        assert (
            outputs(served, tensor("x", "FP32", [2, 4], [value for row in ROWS for value in row])) == expected
        )
        columns = [
            tensor(name, "FP64", [2, 1], list(values))
            for name, values in zip(NAMES, zip(*ROWS, strict=True), strict=True)
        ]
        assert outputs(served, *columns[::-1]) == expected
        scored = outputs(served, *columns, parameters={"probabilities": True})
        assert scored["label"] == ("BYTES", [2, 3], ["setosa", "versicolor", "virginica"] * 2)
        assert scored["score"][:2] == ("FP32", [2, 3])
        assert sum(scored["score"][2][:3]) == pytest.approx(1, abs=1e-6)
        probable = outputs(served, *columns, outputs=[{"name": "predict_proba"}, {"name": "predict"}])
        assert list(probable) == ["predict_proba", "predict"]
        assert probable["predict"] == expected["predict"]
        assert probable["predict_proba"][:2] == ("FP64", [2, 3])
        assert probable["predict_proba"][2] == pytest.approx(scored["score"][2], abs=1e-6)
        assert outputs(served, *columns, outputs=[{"name": "predict_proba"}]).keys() == {"predict_proba"}
        assert served.http.get("/v2/models/m").json()["outputs"][1] == {
            "name": "predict_proba", "datatype": "FP64", "shape": [-1, 3],
        }  # fmt: skip
        answer = served.post({"inputs": columns[:3]}, INFER)
        assert (answer.status_code, "petal_width: missing" in answer.json()["error"]) == (400, True)
        # routes of models that read texts are refused, and those of any model are there
        assert served.post({"inputs": "a"}, "/embed").json()["error_type"] == "Backend"
        assert len(served.http.get("/v1/models").json()["data"]) == 1


def test_numbers_keep_their_type(tmp_path: Path) -> None:
    x = np.array([[0.0], [1.0], [2.0]])
    trained = LinearRegression().fit(x, np.hstack([x, 2 * x]))
    skops.io.dump(trained, tmp_path / "model.skops")
    with Replica(tmp_path, tmp_path, "tabular-regression") as served:
        served.ready()
        name, (datatype, shape, data) = outputs(served, tensor("x", "INT64", [1, 1], [3])).popitem()
        assert (name, datatype, shape) == ("predict", "FP64", [1, 2])
        assert data == pytest.approx([3, 6])
        asked = {"inputs": [tensor("x", "INT64", [1, 1], [3])], "outputs": [{"name": "predict_proba"}]}
        refused = served.post(asked, INFER)
        assert refused.status_code == 400
        assert (
            refused.json()["error"] == "outputs: there is no output 'predict_proba'; this model has predict"
        )


def test_other_tasks_take_parts_and_answer_json(replica: Get) -> None:
    compared = outputs(
        replica("minilm", "sentence-similarity"),
        tensor("source_sentence", "BYTES", [1], ["a dog"]),
        tensor("sentences", "BYTES", [2], ["a puppy", "tax law"]),
    )["output"]
    assert compared[:2] == ("FP32", [2])
    assert compared[2][0] > compared[2][1]
    entities = replica("entities", "token-classification")
    text = "Anna Petrova lives in New York ."
    datatype, shape, data = outputs(entities, tensor("x", "BYTES", [1], [text]))["output"]
    assert (datatype, shape) == ("BYTES", [1])
    assert json.loads(data[0]) == entities.ask({"inputs": text}, **HUB_CLIENT)
    topics = replica("topics", "text-classification")
    pair = outputs(
        topics,
        tensor("text", "BYTES", [1], ["snow"]),
        tensor("text_pair", "BYTES", [1], ["rain"]),
        parameters={"top_k": 1},
    )
    assert pair["label"][2][0] == topics.ask({"inputs": {"text": "snow", "text_pair": "rain"}})[0]["label"]


def test_chosen_outputs_come_as_binary_data(replica: Get) -> None:
    body = {
        "inputs": [tensor("x", "BYTES", [2], ["snow", "the team won"])],
        "outputs": [{"name": "score", "parameters": {"binary_data": True}}, {"name": "label"}],
        "parameters": {"top_k": 2},
    }
    answer = replica("topics", "text-classification").post(body, INFER)
    length = int(answer.headers["inference-header-content-length"])
    score, label = json.loads(answer.content[:length])["outputs"]
    assert (score["parameters"], label["shape"], len(label["data"])) == ({"binary_data_size": 16}, [2, 2], 4)
    scores = struct.unpack("<4f", answer.content[length:])
    assert scores[0] > scores[1]


TEXT = tensor("x", "BYTES", [1], ["a"])


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "inputs: expected a list of tensors"),
        ({"inputs": []}, "inputs: expected a list of tensors"),
        ({"inputs": [3]}, "inputs[0]: expected an object, got a number"),
        ({"inputs": [{**TEXT, "name": ""}]}, "inputs[0].name: missing"),
        ({"inputs": [{**TEXT, "datatype": "BF16"}]}, "inputs[0].datatype: expected one of BYTES, BOOL"),
        ({"inputs": [{**TEXT, "shape": [2]}]}, "inputs[0].data: 1 values, but its shape [2] has 2"),
        ({"inputs": [{**TEXT, "shape": [-1]}]}, "inputs[0].shape: expected a list of 1 to 8 whole numbers"),
        ({"inputs": [{**TEXT, "shape": [2**31 - 1] * 8}]}, "inputs[0].data: 1 values"),
        ({"inputs": [{**TEXT, "shape": [2**40, 2**40]}]}, "inputs[0].shape: must be at most 2147483647 each, got 1099511627776"),
        ({"inputs": [tensor("x", "FP32", [1], [1e300])]}, "inputs[0].data: a number is infinite, or out of the range of FP32"),
        ({"inputs": [{**TEXT, "data": [1]}]}, "inputs[0].data: expected a string, got a number"),
        ({"inputs": [{**TEXT, "data": [["a"], "b"]}]}, "inputs[0].data: expected a string, got a list"),
        ({"inputs": [tensor("x", "INT8", [1], [300])]}, "inputs[0].data: a number is out of the range of INT8"),
        ({"inputs": [tensor("x", "INT8", [1], [True])]}, "inputs[0].data: expected a whole number, got a boolean"),
        ({"inputs": [TEXT, TEXT]}, "inputs[1].name: there are two tensors 'x'"),
        ({"inputs": [{**TEXT, "parameters": {"binary_data_size": 4}}]},
         "inputs[0].parameters.binary_data_size: only 0 bytes of binary data are left"),
        ({"inputs": [TEXT], "outputs": [{"name": "logits"}]}, "outputs: there is no output 'logits'; this model has label"),
        ({"inputs": [TEXT], "parameters": {"topk": 1}}, "parameters.topk: this task has no such parameter"),
        ({"inputs": [tensor("text", "BYTES", [1], ["a"]), tensor("text_pair", "BYTES", [2], ["b", "c"])]},
         "inputs: the tensors text, text_pair must have as many values each"),
        ({"inputs": [TEXT], "id": 3}, "id: expected a string, got a number"),
    ],
)  # fmt: skip
def test_bad_tensors_name_the_field(replica: Get, body: Any, problem: str) -> None:
    answer = replica("topics", "text-classification").post(body, INFER)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(problem)


@pytest.mark.parametrize(
    ("size", "datatype", "blob", "problem"),
    [
        (5, "BYTES", b"\x01\0\0\0\xff", "inputs[0].data: expected texts in UTF-8"),
        (5, "BYTES", b"\x09\0\0\0a", "inputs[0].data: its binary data ends within a text"),
        (3, "FP32", b"abc", "inputs[0].data: 3 bytes are no whole number of FP32"),
        (4, "FP32", b"\0\0\x80\x7f", "inputs[0].data: a number is infinite, or out of the range of FP32"),
        (4, "FP32", b"abcdef", "inputs: 2 bytes of binary data belong to no tensor"),
    ],
)
def test_bad_binary_data_is_refused(
    replica: Get, size: int, datatype: str, blob: bytes, problem: str
) -> None:
    item = {"name": "x", "datatype": datatype, "shape": [1], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [item]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    served = replica("topics", "text-classification")
    answer = served.http.post(INFER, content=head + blob, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, problem)
    too_long = {"inference-header-content-length": "999"}
    assert served.http.post(INFER, content=head, headers=too_long).status_code == 400
