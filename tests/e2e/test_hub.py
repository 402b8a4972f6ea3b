"""Models from the Hub's own routes, with the real download client; and the reasons a person is told when one fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.standins.hub import Repository, StandinHub

from .installation import installation

MINI = "acme/mini"


def repository(folder: Path, model: Path, name: str = MINI) -> None:
    shutil.copytree(model, folder / name)


def test_a_hub_model_is_pinned_downloaded_and_served(home: Path, tmp_path: Path, sample_model: Path) -> None:
    repository(tmp_path, sample_model)
    with StandinHub(tmp_path) as hub, installation(home, env={"HF_ENDPOINT": hub.url}) as inlet:
        hub.settings[MINI] = Repository(pipeline_tag="sentence-similarity")
        inlet.create("mini", MINI, compute__scaling__minReplica=0)
        endpoint = inlet.wait_for_state("mini", "running")
        assert endpoint["model"]["revision"] == endpoint["inlet"]["commit"] == hub.commit(MINI)
        assert endpoint["inlet"]["task"] == "sentence-similarity"
        question = {"inputs": {"source_sentence": "a cat", "sentences": ["a kitten", "a bill"]}}
        answer = inlet.api.post("/default/mini", json=question)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["similarities"]) == 2
        # Asleep and awake again: from the downloaded files, whatever the Hub's main has become.
        assert inlet.api.post("/v2/endpoint/default/mini/scale-to-zero").status_code == 200
        (tmp_path / MINI / "README.md").write_text("a newer commit")
        inlet.wait_for_state("mini", "scaledToZero")
        again = inlet.api.post("/default/mini", json=question)
        assert again.json() == answer.json()
        assert inlet.endpoint("mini")["inlet"]["commit"] == endpoint["inlet"]["commit"]


def test_a_gated_model_needs_a_token_that_is_kept_secret(
    home: Path, tmp_path: Path, sample_model: Path
) -> None:
    repository(tmp_path, sample_model)
    with StandinHub(tmp_path) as hub, installation(home, env={"HF_ENDPOINT": hub.url}) as inlet:
        hub.settings[MINI] = Repository(
            gated=True, tokens={"hf_the_right_one"}, pipeline_tag="sentence-similarity"
        )
        inlet.create("mini", MINI)
        failed = inlet.wait_for_state("mini", "failed")
        assert "gated" in failed["status"]["errorMessage"]
        assert "HF_TOKEN" in failed["status"]["errorMessage"]
        refused = inlet.api.post("/v2/endpoint/default/mini/resume")
        assert refused.status_code == 400
        assert "must be updated" in refused.json()["error"]
        change = {"model": {"secrets": {"HF_TOKEN": "hf_the_right_one"}}}
        assert inlet.api.put("/v2/endpoint/default/mini", json=change).status_code == 200
        running = inlet.wait_for_state("mini", "running")
        assert running["model"]["secrets"] == {"HF_TOKEN": None}
        assert "errorMessage" not in running["status"]
    for path in home.rglob("*"):
        if path.is_file():
            assert b"hf_the_right_one" not in path.read_bytes(), f"the secret lies in {path}"


def test_what_cannot_run_says_why(home: Path, tmp_path: Path, sample_model: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(sample_model, models / "unknown")
    config = json.loads((models / "unknown" / "config.json").read_text())
    (models / "unknown" / "config.json").write_text(json.dumps({**config, "model_type": "perceiver"}))
    shutil.copytree(sample_model, models / "torn")
    weights = models / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000_000])
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "INLET_MODELS": str(models)}
    with StandinHub(tmp_path / "hub") as hub, installation(home, env=env | {"HF_ENDPOINT": hub.url}) as inlet:
        (tmp_path / "hub").mkdir(exist_ok=True)
        inlet.create("nowhere", "acme/nowhere")
        inlet.create("unknown", str(models / "unknown"))
        inlet.create("torn", str(models / "torn"))
        inlet.create("taskless", str(models / "torn"), model__task="text-classification")
        for name, words in {
            "nowhere": "not found on the Hub",
            "unknown": "perceiver",
            "torn": "model.safetensors",
            "taskless": "classification head",
        }.items():
            failed = inlet.wait_for_state(name, "failed")
            assert words in failed["status"]["errorMessage"], failed["status"]
            assert failed["status"]["url"] is None
            assert failed["status"]["readyReplica"] == 0
        answer = inlet.api.post("/default/unknown", json={"inputs": "x"})
        assert answer.status_code == 503
        assert answer.json()["state"] == "failed"
        assert "perceiver" in answer.json()["error"]
        outside = inlet.api.post(
            "/v2/endpoint/default",
            json={
                "name": "outside", "type": "private", "provider": {"vendor": "aws", "region": "us-east-1"},
                "compute": {"accelerator": "cpu", "instanceType": "intel-spr", "instanceSize": "x1",
                            "scaling": {"minReplica": 1, "maxReplica": 1}},
                "model": {"framework": "pytorch", "repository": "/etc", "image": {"huggingface": {}}},
            },
        )  # fmt: skip
        assert outside.status_code == 400
        assert "model.repository" in outside.json()["error"]
