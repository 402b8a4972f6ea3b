"""Models from the Hub's own routes, with the real download client; and the reasons a person is told when one fails."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.standins.hub import Repository, StandinHub

from .installation import Installation, contents, installation

MINI, CLOSED = "acme/mini", "acme/closed"
SECRET = "hf_the_right_one"


@dataclass(frozen=True)
class World:
    """A Hub with two repositories, a folder for local models, and an installation that knows both."""

    hub: StandinHub
    models: Path
    inlet: Installation


@pytest.fixture(scope="module")
def world(sample_model: Path) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="inlet-") as name, StandinHub(Path(name) / "hub") as hub:
        home, models = Path(name) / "home", Path(name) / "models"
        models.mkdir()
        for repository in (MINI, CLOSED):
            shutil.copytree(sample_model, hub.folder / repository)
        with installation(home, env={"HF_ENDPOINT": hub.url, "INLET_MODELS": str(models)}) as inlet:
            yield World(hub, models, inlet)
        for path, content in contents(home):
            assert SECRET.encode() not in content, f"the secret lies in {path}"


def test_a_hub_model_is_pinned_downloaded_and_served(world: World) -> None:
    hub, inlet = world.hub, world.inlet
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
    (hub.folder / MINI / "README.md").write_text("a newer commit")
    inlet.wait_for_state("mini", "scaledToZero")
    again = inlet.api.post("/default/mini", json=question)
    assert again.json() == answer.json()
    assert inlet.endpoint("mini")["inlet"]["commit"] == endpoint["inlet"]["commit"]


def test_a_gated_model_needs_a_token_that_is_kept_secret(world: World) -> None:
    """That it lies in no file is looked at when nothing runs any more."""
    hub, inlet = world.hub, world.inlet
    hub.settings[CLOSED] = Repository(gated=True, tokens={SECRET}, pipeline_tag="sentence-similarity")
    inlet.create("closed", CLOSED)
    failed = inlet.wait_for_state("closed", "failed")
    assert "gated" in failed["status"]["errorMessage"]
    assert "HF_TOKEN" in failed["status"]["errorMessage"]
    refused = inlet.api.post("/v2/endpoint/default/closed/resume")
    assert refused.status_code == 400
    assert "must be updated" in refused.json()["error"]
    change = {"model": {"secrets": {"HF_TOKEN": SECRET}}}
    assert inlet.api.put("/v2/endpoint/default/closed", json=change).status_code == 200
    running = inlet.wait_for_state("closed", "running")
    assert running["model"]["secrets"] == {"HF_TOKEN": None}
    assert "errorMessage" not in running["status"]


def test_what_cannot_run_says_why(world: World, sample_model: Path) -> None:
    models, inlet = world.models, world.inlet
    shutil.copytree(sample_model, models / "unknown")
    config = json.loads((models / "unknown" / "config.json").read_text())
    (models / "unknown" / "config.json").write_text(json.dumps({**config, "model_type": "perceiver"}))
    shutil.copytree(sample_model, models / "torn")
    weights = models / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000_000])
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
    outside = inlet.api.post("/v2/endpoint/default", json=inlet.body("outside", "/etc"))
    assert outside.status_code == 400
    assert "model.repository" in outside.json()["error"]
