"""scikit-learn models through the API and the router: served, refused with the reason, and allowed."""

from __future__ import annotations

from pathlib import Path

import joblib
import skops.io
from sklearn.linear_model import LogisticRegression

from .installation import installation

TABLE = {"inputs": {"data": {"0": [2.0, -2.0]}}}


def test_a_model_is_served_and_a_pickle_only_when_it_is_allowed(home: Path, tmp_path: Path) -> None:
    model = LogisticRegression().fit([[-1.0], [1.0]], ["low", "high"])
    for name in ("safe", "pickled"):
        (tmp_path / name).mkdir()
    skops.io.dump(model, tmp_path / "safe" / "model.skops")
    joblib.dump(model, tmp_path / "pickled" / "model.joblib")
    kind = {"model__framework": "custom", "model__task": "tabular-classification"}
    with installation(home, env={"INLET_MODELS": str(tmp_path)}) as inlet:
        inlet.create("safe", str(tmp_path / "safe"), **kind)
        inlet.create("pickled", str(tmp_path / "pickled"), **kind)
        inlet.create("unclear", str(tmp_path / "safe"), model__framework="custom")
        inlet.wait_for_state("safe", "running")
        answer = inlet.api.post("/default/safe", json=TABLE)
        assert (answer.status_code, answer.json()) == (200, ["high", "low"])
        csv = inlet.api.post("/default/safe", content="x\n2\n", headers={"content-type": "text/csv"})
        assert (csv.status_code, csv.json()) == (200, ["high"])

        inlet.wait_for_state("pickled", "failed")
        assert "INLET_ALLOW_PICKLE=1" in inlet.endpoint("pickled")["status"]["errorMessage"]
        change = {"model": {"env": {"INLET_ALLOW_PICKLE": "1"}}}
        assert inlet.api.put("/v2/endpoint/default/pickled", json=change).status_code == 200
        inlet.wait_for_state("pickled", "running")
        assert inlet.api.post("/default/pickled", json=TABLE).json() == ["high", "low"]

        inlet.wait_for_state("unclear", "failed")
        assert "set model.task" in inlet.endpoint("unclear")["status"]["errorMessage"]
        refused = inlet.api.post(
            "/v2/endpoint/default",
            json=inlet.body("x", str(tmp_path), model__env={"INLET_ALLOW_PICKLE": "please"}),
        )
        assert (refused.status_code, refused.json()["error"][:30]) == (400, "model.env.INLET_ALLOW_PICKLE: ")
