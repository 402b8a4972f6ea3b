"""What the pages about coming from other servers promise, with the files that they show."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from tests.docs import pages
from tests.environments import environment
from tests.other_servers import ARCHIVER, MLFLOW
from tests.runtime.handlers import GOOD, SIBLING, repository
from tests.runtime.process import Replica, eventually

CUSTOM, TABLE = "custom", "tabular-classification"
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 5.0, 2.0]]
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
COLUMNS = {name: list(values) for name, values in zip(NAMES, zip(*ROWS, strict=True), strict=True)}


def shown(server: str, file: str) -> str:
    """The file of that name on the page about that server."""
    page = pages.ROOT / "docs" / "how-to" / f"migrate-{server}.md"
    return next(fence.text for fence in pages.fences(page) if fence.title == file)


def unpacked(folder: Path, name: str, handler: str, **flags: Path) -> Path:
    """A repository with an archive that TorchServe's own tool made of the handler, and the page's `handler.py`."""
    (folder / f"{name}.py").write_text(handler)
    archiver = environment("torch-model-archiver", *ARCHIVER).with_name("torch-model-archiver")
    more = [word for flag, path in flags.items() for word in (f"--{flag.replace('_', '-')}", path)]
    command = [archiver, "--model-name", name, "--version", "1.0", "--handler", folder / f"{name}.py"]
    subprocess.run([*command, "--export-path", folder, *more], check=True)
    model = repository(folder / "model", shown("torchserve", "handler.py"))
    with zipfile.ZipFile(folder / f"{name}.mar") as archive:
        archive.extractall(model / "archive")
    return model


def test_the_class_in_a_torchserve_archive_answers(tmp_path: Path) -> None:
    words = tmp_path / "words.json"
    words.write_text('["prize", "winner"]')
    model = unpacked(tmp_path, "spam", shown("torchserve", "spam.py"), extra_files=words)
    with Replica(tmp_path, model, CUSTOM) as replica:
        assert replica.ready().ask({"inputs": {"text": "you are a winner"}}) == {"score": 0.25}
        failed = replica.post({"inputs": {"texts": []}})
        assert (failed.status_code, failed.json()) == (400, {"error": "'text'"})


FUNCTION = """
state = {}

def handle(data, context):
    if data is None:
        state["folder"] = context.system_properties["model_dir"]
        return
    context.metrics.add_counter("requests", 1)
    context.set_response_content_type(0, "text/plain")
    return [{"loaded": "folder" in state, "type": type(request["body"]).__name__} for request in data]
"""


def test_so_does_a_function_in_one(tmp_path: Path) -> None:
    with Replica(tmp_path, unpacked(tmp_path, "function", FUNCTION), CUSTOM) as replica:
        assert replica.ready().ask({"inputs": "a text"}) == {"loaded": True, "type": "str"}
        sound = replica.http.post("/", content=b"fLaC", headers={"content-type": "audio/flac"})
        assert sound.json() == {"loaded": True, "type": "bytes"}


def test_a_folder_of_mlserver_is_served_as_it_is(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("model-settings.json", "train.py", "request.json"):
        (model / name).write_text(shown("mlserver", name))
    subprocess.run([sys.executable, "train.py"], cwd=model, check=True)
    request = json.loads((model / "request.json").read_text())
    tensor = request["inputs"][0]
    expected = joblib.load(model / "model.joblib").predict(np.array(tensor["data"])).tolist()
    flat = {**tensor, "data": [value for row in tensor["data"] for value in row]}
    with Replica(tmp_path, model, TABLE, env={"INLET_ALLOW_PICKLE": "1"}) as replica:
        replica.ready()
        for path in ("/v2/models/iris/infer", "/v2/models/iris/versions/v1/infer"):
            for body in (request, {"inputs": [flat], "outputs": [{"name": "predict"}]}):
                (output,) = replica.post(body, path).json()["outputs"]
                assert (output["name"], output["datatype"], output["data"]) == ("predict", "INT64", expected)


def test_a_handler_gets_the_bodies_of_mlflows_clients(tmp_path: Path) -> None:
    with Replica(tmp_path, repository(tmp_path / "model", GOOD, sibling=SIBLING), CUSTOM) as replica:
        replica.ready()
        bodies: list[Any] = [
            {"dataframe_split": {"columns": ["a"], "data": [[1]]}},
            {"dataframe_records": [{"a": 1}]},
        ]
        for body in bodies:
            assert replica.post(body, "/invocations").json()["inputs"] == body


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that MLflow saved as its page says."""
    folder = tmp_path_factory.mktemp("mlflow")
    python = environment("mlflow", *MLFLOW)
    subprocess.run([python, "-c", shown("mlflow", "train.py")], cwd=folder, check=True)
    return folder / "models" / "mlflow-iris"


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_model_of_mlflow_is_a_scikit_learn_model(saved: Path, tmp_path: Path) -> None:
    with Replica(tmp_path, saved, TABLE) as replica:
        replica.ready()
        for inputs in (ROWS, RECORDS, COLUMNS):
            assert replica.post({"inputs": inputs}, "/invocations").json() == [0, 2]
        csv = f"{','.join(NAMES)}\n5.1,3.5,1.4,0.2\n"
        asked = replica.http.post("/invocations", content=csv, headers={"content-type": "text/csv"})
        assert asked.json() == [0]
        assert replica.post(json.loads(shown("mlflow", "split.json")), "/invocations").status_code == 400


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_handler_answers_as_mlflows_server_does(saved: Path, tmp_path: Path) -> None:
    (saved / "handler.py").write_text(shown("mlflow", "handler.py"))
    requirements = saved / "requirements.txt"
    requirements.write_text(requirements.read_text().replace("mlflow==", "mlflow-skinny=="))
    # The installer must find packages wherever it finds them in the other tests.
    env = {"INLET_SANDBOX": "off"}
    with Replica(tmp_path, saved, CUSTOM, "--cache", str(tmp_path / "cache"), env=env) as replica:

        def installed() -> bool:
            assert replica.process.poll() is None, replica.log.read_text()
            replica.notifications()
            answer = replica.health()
            return answer is not None and answer.status_code == 200

        eventually(installed, within=500)
        bodies: list[Any] = [
            json.loads(shown("mlflow", "split.json")),
            {"dataframe_records": RECORDS},
            {"instances": RECORDS},
            {"inputs": RECORDS},
            {"inputs": COLUMNS},
        ]
        for body in bodies:
            assert replica.post(body, "/invocations").json() == {"predictions": [0, 2]}
        wrong = replica.post({"dataframe_records": [{"sepal_length": 5.1}]}, "/invocations")
        assert (wrong.status_code, "Failed to enforce schema" in wrong.json()["error"]) == (400, True)
