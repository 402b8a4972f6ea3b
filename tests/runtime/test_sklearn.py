"""scikit-learn models: which files are served, what may be loaded, tables in and labels out; with really trained models."""

from __future__ import annotations

import asyncio
import importlib
import json
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from inlet.core.errors import InletError, Invalid, Refused, TooLarge, TooMany
from inlet.core.trust import pickle_of, types_of
from inlet.runtime.body import UnsupportedMediaType
from inlet.runtime.calls import Calls, Predictor
from inlet.runtime.dialect import Dialect
from inlet.runtime.loader import load
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import parse
from inlet.runtime.serving import Asked
from inlet.runtime.sklearn.files import model_file, needed
from inlet.runtime.sklearn.table import MAX_ROWS
from inlet.runtime.sklearn.versions import pinned
from tests.runtime.process import HUB_CLIENT, Replica, eventually
from tests.standins.hub import StandinHub

CLASSIFY, REGRESS, TEXTS = "tabular-classification", "tabular-regression", "text-classification"
TOLD = "the service was excellent and quick"


@cache
def iris() -> LogisticRegression:
    x, y = load_iris(return_X_y=True, as_frame=True)
    x.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return LogisticRegression(max_iter=1000).fit(x, np.array(["setosa", "versicolor", "virginica"])[y])


FLOWER = {"sepal_length": [5.1], "sepal_width": [3.5], "petal_length": [1.4], "petal_width": [0.2]}
OTHER = {"sepal_length": 6.0, "sepal_width": 3.0, "petal_length": 5.0, "petal_width": 2.0}


def mixed() -> Any:
    """Names, strings and a number: reads a frame."""
    table = pd.DataFrame(
        {"city": ["Rome", "Oslo", "Rome", "Oslo"] * 5, "rooms": [1, 2, 3, 4] * 5, "code": ["01", "2"] * 10}
    )
    columns = ColumnTransformer(
        [
            ("words", OneHotEncoder(), ["city"]),
            ("numbers", StandardScaler(), ["rooms"]),
            ("codes", "drop", ["code"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(table, (table.city == "Rome").astype(int))


def sentiment() -> Any:
    good, bad = ["an excellent meal", "quick and excellent"], ["a slow and bad meal", "bad service"]
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
        [*good, *bad] * 3, ["good", "good", "bad", "bad"] * 3
    )


def save(folder: Path, trained: Any, name: str = "model.skops", **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    if name.endswith(".skops"):
        skops.io.dump(trained, folder / name)
    elif name.endswith(".joblib"):
        joblib.dump(trained, folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps(trained))
    if settings:
        (folder / "config.json").write_text(json.dumps({"sklearn": settings}))
    return folder


def opened(folder: Path, task: str = CLASSIFY, **env: str) -> Predictor:
    found = load(parse(["--model", str(folder), "--task", task, "--port", "0"], env), lambda *_: None)
    assert isinstance(found, Predictor)
    found.warm_up()
    return found


def asked(body: Any, content_type: str = "application/json", query: str = "") -> Asked:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Asked("/", content, {"content-type": content_type}, query, Dialect.TOOLKIT, 0.0, None)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    predictor = opened(save(tmp_path_factory.mktemp("flowers"), iris()))
    return lambda body, *more: json.loads(predictor.answer(asked(body, *more)))


@pytest.fixture(scope="module")
def flats(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    predictor = opened(save(tmp_path_factory.mktemp("flats"), mixed()))
    return lambda body, *more: json.loads(predictor.answer(asked(body, *more)))


# Tables


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"data": FLOWER}},
        {"inputs": FLOWER},
        {"table": FLOWER},
        {"inputs": {"table": FLOWER}},
        {"inputs": {"data": dict(reversed(FLOWER.items()))}},
        {"inputs": {"data": {name: [str(value)] for name, (value,) in FLOWER.items()}}},
        {"inputs": [{name: value for name, (value,) in FLOWER.items()}]},
        {"inputs": {"data": [{name: value for name, (value,) in FLOWER.items()}]}},
        {"inputs": [[5.1, 3.5, 1.4, 0.2]]},
        {"inputs": {"data": [[5.1, 3.5, 1.4, 0.2]]}},
    ],
)
def test_a_table_in_any_of_its_forms(flowers: Callable[..., Any], body: Any) -> None:
    assert flowers(body) == ["setosa"]


def test_a_table_as_csv_with_its_columns_in_any_order(flowers: Callable[..., Any]) -> None:
    text = "petal_width,petal_length,sepal_width,sepal_length\n0.2,1.4,3.5,5.1\r\n2,5,3,6\n"
    assert flowers(text, "text/csv") == ["setosa", "virginica"]
    assert flowers("\ufeff" + text, "Text/CSV; charset=utf-8") == ["setosa", "virginica"]
    rows = flowers(text, "text/csv", "probabilities=true")
    assert [max(row, key=lambda item: item["score"])["label"] for row in rows] == ["setosa", "virginica"]


def test_csv_without_a_line_of_names(flowers: Callable[..., Any], tmp_path: Path) -> None:
    assert flowers("5.1,3.5,1.4,0.2\r\n6,3,5,2\n", "text/csv; header=absent") == ["setosa", "virginica"]
    assert flowers("5.1,3.5,1.4,0.2", 'text/csv; charset=utf-8; HEADER="absent"') == ["setosa"]
    # Numbers that are names: of a model that knows them, of one that knows none.
    rows, kinds = load_iris(return_X_y=True)
    frame = pd.DataFrame(rows, columns=list("0123"))
    named = opened(save(tmp_path / "named", LogisticRegression(max_iter=1000).fit(frame, kinds)))
    bare = opened(save(tmp_path / "bare", LogisticRegression(max_iter=1000).fit(rows, kinds)))
    text = "0,1,2,3\n5.1,3.5,1.4,0.2\n"
    assert json.loads(named.answer(asked(text, "text/csv"))) == [0]
    assert json.loads(bare.answer(asked(text, "text/csv; header=present"))) == [0]
    with pytest.raises(
        Invalid, match=r"^body: the first line holds numbers where .* 'text/csv; header=absent'"
    ):
        bare.answer(asked(text, "text/csv"))


def test_probabilities_are_those_of_the_model(flowers: Callable[..., Any]) -> None:
    rows = flowers({"inputs": {"data": [OTHER]}, "parameters": {"probabilities": True}})
    expected = iris().predict_proba(pd.DataFrame([OTHER]))[0]
    assert [item["label"] for item in rows[0]] == ["setosa", "versicolor", "virginica"]
    assert [item["score"] for item in rows[0]] == pytest.approx(expected.tolist())
    assert flowers({"inputs": {"data": [OTHER]}, "parameters": {"probabilities": False}}) == ["virginica"]


BAD = {**FLOWER, "petal_width": ["wide"]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"inputs": {"data": {k: v for k, v in FLOWER.items() if k != "sepal_width"}}},
         "inputs.data.sepal_width: missing; the model's columns are sepal_length"),
        ({"inputs": {"data": {**FLOWER, "colour": [1]}}}, "inputs.data.colour: the model has no such column"),
        ({"inputs": {"data": {**FLOWER, "petal_width": [0.2, 0.3]}}}, "inputs.data.petal_width: 2 values, but the col"),
        ({"inputs": {"data": {**FLOWER, "petal_width": 0.2}}}, "inputs.data.petal_width: expected a list of values, "),
        ({"inputs": {"data": BAD}}, "inputs.data.petal_width[0]: expected a number, got 'wide'"),
        ({"inputs": {"data": {**FLOWER, "petal_width": [None]}}}, "inputs.data.petal_width[0]: there is no value"),
        ({"inputs": {"data": {**FLOWER, "petal_width": [[1]]}}}, "inputs.data.petal_width[0]: expected a number, got a "),
        ({"inputs": {"data": {**FLOWER, "petal_width": [{}]}}}, "inputs.data.petal_width[0]: expected a number, got an"),
        ({"inputs": {"data": {**FLOWER, "petal_width": ["inf"]}}}, "inputs.data: the model cannot take these values: In"),
        ({"inputs": {"data": {name: [[1], [1]] for name in FLOWER}}}, "inputs.data.sepal_length[0]: expected a number"),
        ({"inputs": {"data": {name: [] for name in FLOWER}}}, "inputs.data: the table has no rows"),
        ({"inputs": {"data": {}}}, "inputs.data: expected a table"),
        ({"inputs": []}, "inputs: expected a table"),
        ({"inputs": "5.1"}, "inputs: expected a table"),
        ({"inputs": [5.1, 3.5, 1.4, 0.2]}, "inputs: expected a table"),
        ({"inputs": [[5.1, 3.5, 1.4]]}, "inputs: expected 4 columns, got 3"),
        ({"inputs": [[5.1, 3.5, 1.4, 0.2], [1, 2]]}, "inputs[1]: 2 values, but the first row has 4"),
        ({"inputs": [[5.1, 3.5, 1.4, 0.2], {}]}, "inputs[1]: expected a list of values as before it, got an object"),
        ({"inputs": [[5.1, 3.5, 1.4, "x"]]}, "inputs[0][3]: expected a number, got 'x'"),
        ({"inputs": [[]]}, "inputs[0]: the row has no values"),
        ({"inputs": [{}]}, "inputs[0]: the row has no values"),
        ({"inputs": [OTHER, [1]]}, "inputs[1]: expected an object as before it, got a list"),
        ({"inputs": [OTHER, {**OTHER, "colour": 1}]}, "inputs[1].colour: is not in every row"),
        ({"inputs": [{**OTHER, "petal_width": None}]}, "inputs[0].petal_width: there is no value"),
        ({"inputs": [OTHER], "parameters": {"top_k": 1}}, "parameters.top_k: this task has no such parameter; it takes pr"),
        ({"inputs": [OTHER], "parameters": {"probabilities": 1}}, "parameters.probabilities: expected true or false"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused_by_the_field(flowers: Callable[..., Any], body: Any, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        flowers(body)
    assert str(refused.value).startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "body: expected a line with the names"),
        ("sepal_length,sepal_width,petal_length,petal_width\n", "body: expected a line with the names"),
        ("sepal_length,sepal_width,petal_length,petal_width\n1,2,3\n", "body[0]: 3 values for 4 columns"),
        ("sepal_length,sepal_width,petal_length\n1,2,3\n", "body.petal_width: missing"),
        ("sepal_length,sepal_length\n1,2\n", "body: two columns have the same name"),
        ("sepal_length,sepal_width,petal_length,petal_width\n1,2,3,\n", "body[0].petal_width: there is no value"),
        ("sepal_length,sepal_width,petal_length,petal_width\n1,2,3,x\n", "body[0].petal_width: expected a number, got 'x'"),
        ('"sepal_length\n', "body: not valid CSV"),
        ("5.1,3.5,1.4,0.2\n6,3,5,2\n", "body: the first line holds numbers where the names"),
    ],
)  # fmt: skip
def test_wrong_csv_is_refused_by_the_line(flowers: Callable[..., Any], text: str, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        flowers(text, "text/csv")
    assert str(refused.value).startswith(reason)


def test_a_table_of_too_many_rows_is_refused(flowers: Callable[..., Any]) -> None:
    with pytest.raises(TooLarge, match=r"^inputs: 100001 rows"):
        flowers({"inputs": [[0]] * (MAX_ROWS + 1)})


def test_other_media_are_refused(flowers: Callable[..., Any]) -> None:
    with pytest.raises(UnsupportedMediaType):
        flowers("PAR1", "application/vnd.apache.parquet")


def test_a_model_that_reads_names_and_words_gets_them(flats: Callable[..., Any]) -> None:
    assert flats({"inputs": {"data": {"rooms": [1, 2], "city": ["Rome", "Oslo"], "code": ["01", "2"]}}}) == [
        1,
        0,
    ]
    assert flats({"inputs": [["Rome", 1, "01"], ["Oslo", 2, "2"]]}) == [1, 0]
    assert flats("code,city,rooms\n01,Rome,1\n2,Oslo,2\n", "text/csv") == [1, 0]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"city": "Paris", "rooms": 1, "code": ""}, "inputs: the model cannot take these values: Found unknown categor"),
        ({"city": "Rome", "rooms": "many", "code": ""}, "inputs: the model cannot take these values: could not convert"),
        ({"city": "Rome", "rooms": None, "code": ""}, "inputs[0].rooms: there is no value"),
        ({"city": "Rome", "rooms": [1], "code": ""}, "inputs[0].rooms: expected a single value, got a list"),
        ({"city": "Paris", "rooms": 1, "code": None}, "inputs: the model cannot take these values: Found unknown categor"),
    ],
)  # fmt: skip
def test_values_that_the_model_cannot_take_are_the_callers(
    flats: Callable[..., Any], row: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Invalid) as refused:
        flats({"inputs": [row]})
    assert str(refused.value).startswith(reason)


def test_a_model_that_takes_missing_values_gets_them(tmp_path: Path) -> None:
    x = np.array([[0.0, 1], [np.nan, 2], [1, 3], [np.nan, 4]] * 10)
    model = HistGradientBoostingClassifier(max_iter=5).fit(x, np.isnan(x[:, 0]))
    trusted = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
    predictor = opened(save(tmp_path, model), INLET_TRUSTED_TYPES=trusted)
    assert json.loads(predictor.answer(asked({"inputs": [[None, 9], [0, 9]]}))) == [True, False]


def test_regression_and_several_outputs(tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    one = LinearRegression().fit(x, y)
    predictor = opened(save(tmp_path / "one", one), REGRESS)
    rows = x[:3].tolist()
    assert json.loads(predictor.answer(asked({"inputs": rows}))) == pytest.approx(one.predict(x[:3]).tolist())
    with pytest.raises(Invalid, match=r"^parameters\.probabilities: this task has no such parameter"):
        predictor.answer(asked({"inputs": rows, "parameters": {"probabilities": True}}))

    two = MultiOutputClassifier(LogisticRegression()).fit([[0], [1]], [["a", "x"], ["b", "y"]])
    predictor = opened(save(tmp_path / "two", two))
    assert json.loads(predictor.answer(asked({"inputs": [[0], [1]]}))) == [["a", "x"], ["b", "y"]]
    with pytest.raises(
        Invalid, match=r"^parameters\.probabilities: MultiOutputClassifier has several outputs"
    ):
        predictor.answer(asked({"inputs": [[0]], "parameters": {"probabilities": True}}))

    none = LinearSVC().fit([[0], [1]], [0, 1])
    predictor = opened(save(tmp_path / "none", none))
    with pytest.raises(Invalid, match=r"^parameters\.probabilities: LinearSVC gives no probabilities"):
        predictor.answer(asked({"inputs": [[0]], "parameters": {"probabilities": True}}))


def test_texts_are_answered_as_encoders_answer_them(tmp_path: Path) -> None:
    predictor = opened(save(tmp_path, sentiment()), TEXTS)

    def ask(inputs: Any, **parameters: Any) -> Any:
        return json.loads(predictor.answer(asked({"inputs": inputs, "parameters": parameters})))

    (best,) = ask(TOLD)
    assert best["label"] == "good"
    assert best["score"] > 0.5
    assert [item["label"] for item in ask([TOLD, "bad"])] == ["good", "bad"]
    assert [item["label"] for item in ask(TOLD, top_k=2)] == ["good", "bad"]
    assert ask([]) == []
    client = Asked("/", json.dumps({"inputs": TOLD}).encode(), HUB_CLIENT, "", Dialect.TOOLKIT, 0.0, None)
    assert [item["label"] for item in json.loads(predictor.answer(client))[0]] == ["good", "bad"]
    with pytest.raises(Invalid, match=r"^inputs\[0\]: expected a string, got a number"):
        ask([5])


# Files, and what may be loaded


class Trap:
    """Runs code when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "sklearn_model.joblib", "mine.pickle"])
def test_a_pickle_is_not_opened_unless_it_is_allowed(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "ran"
    folder = save(tmp_path / "model", Trap(mark), name)
    with pytest.raises(
        Refused, match=rf"^model: {name} is a pickle, which can run any code .* INLET_ALLOW_PICKLE=1"
    ):
        opened(folder)
    assert not mark.exists()
    save(folder, iris(), name)
    answer = opened(folder, INLET_ALLOW_PICKLE="1").answer(asked({"inputs": {"data": FLOWER}}))
    assert json.loads(answer) == ["setosa"]


def test_a_pickle_that_is_called_skops_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    folder = save(tmp_path / "model", Trap(mark), "model.pkl")
    (folder / "model.pkl").rename(folder / "model.skops")
    with pytest.raises(Refused, match=r"^model: model\.skops cannot be loaded: BadZipFile"):
        opened(folder)
    assert not mark.exists()


def halved(values: Any) -> Any:
    return values / 2


def test_types_that_skops_does_not_know_are_named_and_may_be_trusted(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    model = make_pipeline(FunctionTransformer(halved), LogisticRegression(max_iter=500)).fit(x, y)
    folder = save(tmp_path, model)
    with pytest.raises(Refused) as refused:
        opened(folder)
    name = f"{halved.__module__}.halved"
    assert f"holds types that are not known to be harmless: {name}. If you trust" in str(refused.value)
    assert f"INLET_TRUSTED_TYPES={name} in the endpoint's env" in str(refused.value)
    answer = opened(folder, INLET_TRUSTED_TYPES=name).answer(asked({"inputs": [[5.1, 3.5, 1.4, 0.2]]}))
    assert json.loads(answer) == [0]


@pytest.mark.parametrize(
    ("names", "config", "found"),
    [
        (["model.joblib", "model.skops", "x.py"], {}, "model.skops"),
        (["model.pkl", "sklearn_model.joblib"], {}, "sklearn_model.joblib"),
        (["iris.skops", "old.pkl"], {}, "iris.skops"),
        (["a.joblib"], {}, "a.joblib"),
        (["deep/model.pkl", "model.skops"], {"sklearn": {"model": {"file": "deep/model.pkl"}}}, "deep/model.pkl"),
        (["model.pkl", "model.safetensors"], {"model_type": "bert"}, None),
        (["deep/model.pkl", "config.json"], {}, None),
        (["README.md"], {"sklearn": "yes"}, None),
    ],
)  # fmt: skip
def test_which_file_is_the_model(names: list[str], config: dict[str, Any], found: str | None) -> None:
    assert model_file(names, config) == found


@pytest.mark.parametrize(
    ("names", "config", "reason"),
    [
        (["a.skops", "b.skops"], {}, "model: a.skops, b.skops: which of these is the model"),
        (["x.pkl"], {"sklearn": {"model": {"file": "../../secret.pkl"}}}, "model: config.json names the model file '../"),
        (["x.pkl"], {"sklearn": {"model": {"file": ["x.pkl"]}}}, "model: config.json names the model file ['x.pkl']"),
    ],
)  # fmt: skip
def test_a_model_file_that_cannot_be_told_is_refused(
    names: list[str], config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        model_file(names, config)
    assert str(refused.value).startswith(reason)


def test_only_what_is_used_is_fetched() -> None:
    names = ["model.skops", "model.pkl", "config.json", "requirements.txt", "train.py", "data.csv"]
    assert needed(names, {}) == ["model.skops", "config.json", "requirements.txt"]


@pytest.mark.parametrize(
    ("model", "task", "reason"),
    [
        (iris, REGRESS, "task: LogisticRegression is a classifier: it does tabular-classification, not tabular-regr"),
        (lambda: LinearRegression().fit([[0.0], [1.0]], [0, 1]), CLASSIFY, "task: LinearRegression is a regressor"),
        (iris, "feature-extraction", "task: a scikit-learn model does tabular-classification, tabular-regression, text"),
        (lambda: LinearSVC().fit([[0], [1]], [0, 1]), TEXTS, "task: LinearSVC gives no probabilities"),
        (lambda: StandardScaler().fit([[0.0]]), CLASSIFY, "model: the file holds a StandardScaler, not a model with"),
        (LogisticRegression, CLASSIFY, None),
    ],
)  # fmt: skip
def test_a_model_that_does_not_do_the_task_is_refused(
    tmp_path: Path, model: Callable[[], Any], task: str, reason: str | None
) -> None:
    folder = save(tmp_path, model(), columns=["a"])
    with pytest.raises(Refused) as refused:
        opened(folder, task)
    assert str(refused.value).startswith(
        reason or "model: the model was loaded and cannot predict: NotFittedError"
    )


def test_a_folder_without_a_model_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"^model: there is no scikit-learn model: expected model\.skops"):
        opened(tmp_path)


def test_without_scikit_learn_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path, iris())
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(Refused, match=r"install inlet-endpoints\[sklearn\] on the server"):
        opened(folder)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["numpy", "scikit-learn=1.1.1"], "1.1.1"),
        (["scikit_learn==1.5.2  # as trained"], "1.5.2"),
        (["scikit-learn>=1.0"], None),
        (["scikit-learn-intelex==2021.1"], None),
        ([5, None], None),
    ],
)
def test_the_version_that_requirements_pin(lines: list[object], found: str | None) -> None:
    assert pinned(lines) == found


@pytest.mark.parametrize("name", ["model.skops", "model.joblib"])
def test_a_model_of_another_version_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sklearn.base.__version__", "1.2.2")  # what a model writes down when it is saved
        folder = save(tmp_path, iris(), name)
    told = opened(folder, INLET_ALLOW_PICKLE="1").describe()
    assert told["scikit_learn"]["saved_with"] == "1.2.2"
    assert "install scikit-learn==1.2.2, or save the model again" in told["warning"]
    assert told["warning"] in caplog.text


def test_a_model_that_fails_with_this_version_is_refused_with_both(tmp_path: Path) -> None:
    model = copy(iris())
    del model.classes_
    folder = save(tmp_path, model, "model.joblib", environment=["scikit-learn=1.1.1", "numpy"])
    with pytest.raises(
        Refused, match=r"cannot predict: AttributeError: .*saved with scikit-learn 1\.1\.1 and"
    ):
        opened(folder, INLET_ALLOW_PICKLE="1")


def test_names_and_an_example_from_config_json(tmp_path: Path) -> None:
    model = LogisticRegression().fit(np.array([[0.0, 1], [1, 0]]), ["no", "yes"])
    folder = save(
        tmp_path, model, "mine.pkl",
        model={"file": "mine.pkl"}, columns=["a", "b"], task=CLASSIFY, example_input={"a": [0, 1], "b": [1, 0]},
    )  # fmt: skip
    predictor = opened(folder, INLET_ALLOW_PICKLE="1")
    assert json.loads(predictor.answer(asked({"inputs": {"data": {"b": [0], "a": [1]}}}))) == ["yes"]
    assert predictor.describe()["columns"] == ("a", "b")


def test_what_an_owner_may_write_is_checked() -> None:
    assert types_of("a.B, c.d.E") == ("a.B", "c.d.E")
    for wrong in (lambda: pickle_of("maybe"), lambda: types_of("everything")):
        with pytest.raises(InletError, match="INLET_"):
            wrong()


# The replica


def test_a_replica_serves_it_as_it_serves_any_model(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", iris())
    with Replica(tmp_path, folder, CLASSIFY) as replica:
        replica.ready()
        assert replica.ask({"inputs": {"data": FLOWER}}) == ["setosa"]
        assert replica.post({"inputs": {"data": FLOWER}}, f"/pipeline/{CLASSIFY}").json() == ["setosa"]
        assert replica.post({"inputs": {"data": FLOWER}}, f"/pipeline/{REGRESS}").status_code == 404
        refused = replica.post({"inputs": {"data": BAD}})
        assert (refused.status_code, refused.json()["error"][:26]) == (400, "inputs.data.petal_width[0]")
        info = replica.http.get("/info").json()
        assert (info["task"], info["engine"], info["architecture"]) == (
            CLASSIFY,
            "sklearn",
            "LogisticRegression",
        )
        assert info["labels"] == ["setosa", "versicolor", "virginica"]
        assert info["warning"] is None
        metrics = replica.http.get("/metrics").text
        assert 'inlet_replica_requests_total{status="200"} 2.0' in metrics
        assert "inlet_replica_in_flight 0.0" in metrics
        with replica.sending() as last:
            replica.terminate()
            eventually(lambda: replica.http.get("/health").status_code == 503)
            assert replica.post({"inputs": {"data": FLOWER}}).headers["x-inlet-draining"] == "1"
            last.sendall(b'ts":"a"}')
            assert last.recv(2000).startswith(b"HTTP/1.1 400")
        assert replica.ended() == 0


# In a module of its own, so that a pickle of it can be loaded elsewhere.
STUBBORN = """
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator


class Stubborn(BaseEstimator):
    n_features_in_ = 1

    def predict(self, x):
        match x[0, 0]:
            case 1:
                Path("begun").touch()
                while not Path("go").exists():
                    time.sleep(0.01)
            case 2:
                raise SystemExit
            case 3:
                raise KeyError("lost")
            case 4:
                raise MemoryError
        return np.array([7 for _ in x])
"""


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replica]:
    """A replica whose model waits, ends or fails when it is told to; its folder is `tmp_path`."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    made = importlib.import_module("stubborn").Stubborn()
    folder = save(tmp_path / "model", made, "model.pkl")
    monkeypatch.delitem(sys.modules, "stubborn")
    env = {"INLET_ALLOW_PICKLE": "1", "PYTHONPATH": str(tmp_path)}
    with Replica(tmp_path, folder, REGRESS, env=env) as replica:
        yield replica.ready()


def one(value: int) -> bytes:
    body = json.dumps({"inputs": [[value]]}).encode()
    return b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def connected(replica: Replica, value: int) -> socket.socket:
    """A connection on which that was asked."""
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(str(replica.socket))
    raw.sendall(one(value))
    return raw


def measured(replica: Replica, line: str) -> bool:
    return line in replica.http.get("/metrics").text


def test_one_call_at_a_time_and_neither_what_waits_nor_what_fails_harms_the_rest(
    stubborn: Replica, tmp_path: Path
) -> None:
    with connected(stubborn, 1) as first:
        eventually((tmp_path / "begun").exists)
        assert stubborn.health().status_code == 200  # the loop is free meanwhile
        late = stubborn.http.post("/", json={"inputs": [[0]]}, headers={"x-inlet-timeout": "0.05"})
        assert (late.status_code, late.headers["retry-after"]) == (429, "1")
        assert "not begun within the time" in late.json()["error"]
        connected(stubborn, 2).close()
        eventually(lambda: measured(stubborn, "inlet_replica_dropped_texts_total 1.0"))
        assert measured(stubborn, "inlet_replica_expired_requests_total 1.0")
        (tmp_path / "go").touch()
        answer = b""
        while not answer.endswith(b"[7]"):
            more = first.recv(2000)
            assert more, answer
            answer += more
    eventually(lambda: measured(stubborn, "inlet_replica_waiting_texts 0.0"))

    # A model that fails or wants to end the process costs one request.
    for value in (2, 3):
        failed = stubborn.post({"inputs": [[value]]})
        assert (failed.status_code, failed.json()["error"][:16]) == (500, "the model failed")
    assert stubborn.ask({"inputs": [[0]]}) == [7]
    assert stubborn.post({"inputs": [[4]]}).status_code == 503  # out of memory: it restarts
    assert stubborn.ended() == 1


def test_more_work_than_can_be_done_in_time_is_refused_at_once() -> None:
    class Busy:
        """Answers when it is let."""

        task = REGRESS

        def __init__(self) -> None:
            self.begun, self.go = threading.Event(), threading.Event()

        def warm_up(self) -> None:
            self.go.wait(0.05)

        def answer(self, asked: Asked) -> bytes:
            self.begun.set()
            self.go.wait()
            return asked.content

        def describe(self) -> dict[str, Any]:
            return {}

    async def run() -> None:
        busy = Busy()
        calls = Calls(busy, max_wait=0.04, metrics=Metrics())
        await calls.warm_up()  # a call takes 0.05 s
        running = asyncio.create_task(calls.answer(asked("[1]")))
        await asyncio.to_thread(busy.begun.wait)
        with pytest.raises(TooMany, match="1 requests are in front of a new one, about 0"):
            calls.admit(asyncio.get_running_loop().time(), None)
        busy.go.set()
        assert (await running).body == b"[1]"
        calls.admit(asyncio.get_running_loop().time(), None)
        calls.close()

    asyncio.run(run())


def test_a_repository_of_the_hub_without_a_config(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "acme" / "iris"
    folder.mkdir(parents=True)
    save(folder, iris())
    (folder / "modeling.py").write_text("never fetched")
    with StandinHub(tmp_path / "hub") as hub:
        flags = ["--commit", hub.commit("acme/iris"), "--cache", str(tmp_path / "cache")]
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
        with Replica(tmp_path, "acme/iris", CLASSIFY, *flags, env=env) as replica:
            assert replica.ready().ask({"inputs": {"data": FLOWER}}) == ["setosa"]
        fetched = {asked.path.rsplit("/", 1)[-1] for asked in hub.requests if "/resolve/" in asked.path}
        assert fetched == {"model.skops"}
