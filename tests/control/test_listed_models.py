"""Several models on one endpoint: what may be listed, what is pinned, and what a replica is told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inlet.control.launch import Launcher
from inlet.control.lookup import look_up
from inlet.control.vault import Vault, generate_key
from inlet.core.catalogue import CATALOGUE
from inlet.core.errors import Refused
from inlet.core.models import MODELS, Listed, models_of
from inlet.core.spec import Image, Model
from inlet.sample import sample_folder
from inlet.wire.stored import dump_endpoint, load_endpoint
from tests.control.conftest import Api, create_body
from tests.records import endpoint
from tests.standins.hub import StandinHub

FIELD = f"model.env.{MODELS}"


def body(listed: object, **model: Any) -> dict[str, Any]:
    made = create_body()
    text = listed if isinstance(listed, str) else json.dumps(listed)
    made["model"] |= {"env": {MODELS: text}, **model}
    return made


async def test_each_listed_repository_is_checked_like_the_endpoints_own(api: Api, tmp_path: Path) -> None:
    good, outside = tmp_path / "models" / "good", tmp_path / "outside"
    inside = api.settings.home / "models" / "m"
    for folder in (good, outside, inside):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    allowed = ["acme/other", {"repository": str(good), "model_id": "mine", "task": "fill-mask"}]
    made = await api.ok("POST", "/v2/endpoint/default", body(allowed))
    assert json.loads(made["model"]["env"][MODELS]) == allowed
    for listed, words in (
        (["acme/other", str(outside)], f"{FIELD}[1].repository: {outside} is not below a folder that models"),
        ([{"repository": str(inside)}], f"{FIELD}[0].repository: {inside} is not below a folder that models"),
        (["acme/mini", {"repository": "a/b/c", "model_id": "c"}], f"{FIELD}[1].repository: 'a/b/c' is neither"),
        ([{"repository": str(good), "revision": "v2"}], f"{FIELD}[0].revision: a local folder has no revisions"),
        ([{"repository": "acme/x", "task": "magic"}], f"{FIELD}[0].task: 'magic' is none of"),
        ("acme/other,acme/other@v2", f"{FIELD}: two models are called 'acme/other'"),
        ("acme/mini@v2", f"{FIELD}: two models are called 'acme/mini'"),
    ):  # fmt: skip
        assert (await api.refused(400, "POST", "/v2/endpoint/default", body(listed))).startswith(words)
    secret = create_body()
    secret["model"]["secrets"] = {MODELS: str(outside)}
    words = f"model.secrets.{MODELS}: is no secret"
    assert (await api.refused(400, "POST", "/v2/endpoint/default", secret)).startswith(words)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Lists its own model under another name, a folder, and one on the Hub."""
    sample = sample_folder()
    assert sample is not None, "make test installs the sample model"
    for name in ("acme/mini", "acme/other"):
        shutil.copytree(sample, tmp_path / "hub" / name, ignore=shutil.ignore_patterns("*.safetensors"))
    listed = [
        "acme/other",
        {"repository": str(sample), "model_id": "local", "task": "feature-extraction"},
        {"repository": "acme/mini", "model_id": "main"},
    ]
    return Model(
        "acme/mini", "pytorch", Image("huggingface"), task="fill-mask", env={MODELS: json.dumps(listed)}
    )


async def test_all_are_looked_up_once_and_replicas_are_told_what_was_found(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = sample_folder()
    assert sample is not None
    with StandinHub(tmp_path / "hub") as hub:
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", hub.url)
        source = await look_up(model, token=None)
        missing = replace(model, env={MODELS: "acme/other,acme/gone"})
        with pytest.raises(
            Refused, match=r"^model\.env\.INLET_SERVE_MODELS\[1\]: acme/gone was not found on the Hub"
        ):
            await look_up(missing, token=None)
    found = (
        Listed("main", "acme/mini", hub.commit("acme/mini"), "fill-mask"),
        Listed("acme/other", "acme/other", hub.commit("acme/other"), "sentence-similarity"),
        Listed("local", str(sample.resolve()), None, "feature-extraction"),
    )
    assert source.models == found
    record = endpoint("a")
    revision = replace(record.target, workload=replace(record.spec.workload, model=model), source=source)
    record = load_endpoint(dump_endpoint(replace(record, target=revision)))
    launcher = Launcher(
        vault=Vault([generate_key()]), server_token="hf_lent", first_namespace=record.namespace
    )
    env = launcher.replica_set(record, record.target, 1, CATALOGUE).launch.env
    assert models_of(env[MODELS]) == found
    in_folders = replace(source, location=str(sample), local=True, commit=None)
    launch = launcher.replica_set(record, replace(revision, source=in_folders), 1, CATALOGUE).launch
    assert launch.env["INLET_HUB_TOKEN"] == "hf_lent", "the others are on the Hub"
    alone = replace(source, models=())
    assert (
        MODELS not in launcher.replica_set(record, replace(revision, source=alone), 1, CATALOGUE).launch.env
    )
