"""`hugie`, which speaks the older API only, with a configuration of ours; unmodified but for the base address."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.environments import environment

from .clients import HUGIE, run, told_address
from .installation import TOKEN, Installation, wait_for

Hugie = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hugie(one_installation: Installation, tmp_path: Path) -> Hugie:
    """`hugie("list")` is `hugie endpoint list`."""
    command = environment("hugie-0.4.0", *HUGIE).with_name("hugie")
    address = told_address(tmp_path / "address", "hugie")

    def call(*words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        env = {
            "PYTHONPATH": str(address),
            "HUGIE_URL": one_installation.url,
            "HUGGINGFACE_READ_TOKEN": token,
            "COLUMNS": "200",
        }
        return run(str(command), "endpoint", *words, env=env)

    return call


def config(folder: Path, model: Path, name: str, **model_fields: str) -> str:
    """A file with every field that hugie wants, and one that it drops."""
    document = {
        "accountId": None,
        "type": "protected",
        "name": name,
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {
            "accelerator": "cpu",
            "instanceType": "c6i",
            "instanceSize": "small",
            "scaling": {"minReplica": 1, "maxReplica": 1},
        },
        "model": {
            "framework": "custom",
            "image": {"huggingface": {}},
            "repository": str(model),
            "revision": "main",
            "task": "feature-extraction",
            **model_fields,
        },
        "tags": ["dropped"],
    }
    file = folder / f"{name}.json"
    file.write_text(json.dumps(document))
    return str(file)


def done(process: subprocess.CompletedProcess[str]) -> str:
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_the_story_of_an_endpoint(
    hugie: Hugie, one_installation: Installation, sample_model: Path, tmp_path: Path
) -> None:
    inlet = one_installation
    assert "No endpoints found" in done(hugie("list"))
    file = config(tmp_path, sample_model, "features")
    assert "Endpoint features created successfully" in done(hugie("create", file))
    running = inlet.wait_for_state("features", "running")
    assert (running["type"], running["compute"]["instanceSize"], running["tags"]) == (
        "protected",
        "small",
        [],
    )
    assert running["compute"]["id"] == "aws-us-east-1-intel-icl-x1"
    url = f"{inlet.url}/default/features"
    for listing in (done(hugie("list")), done(hugie("info", "features"))):
        row = next(line for line in listing.splitlines() if line.startswith("features"))
        assert row.split() == ["features", "running", str(sample_model), "main", url]
    # With `--json` hugie prints Python's notation of what it got.
    assert f"'url': '{url}'" in done(hugie("info", "features", "--json"))

    vectors = json.loads(done(hugie("test", "features", "a cat")))
    direct = inlet.api.post("/default/features", json={"inputs": "a cat"}).json()
    assert vectors == direct
    assert {len(vector) for vector in vectors[0]} == {384}
    inputs = tmp_path / "inputs.json"
    inputs.write_text(json.dumps({"inputs": ["a cat", "a bill"]}))
    assert len(json.loads(done(hugie("test", "features", "--input-file", str(inputs))))) == 2
    # It answers before its line has come through pipe, keeper and file.
    wait_for("its line in the log", lambda: "ready after" in done(hugie("logs", "features")))

    # The same configuration again changes nothing; another task is another revision.
    assert "updated successfully" in done(hugie("update", "features", file))
    assert inlet.endpoint("features")["inlet"]["revision"] == 1
    again = config(tmp_path, sample_model, "features", task="sentence-similarity")
    assert "updated successfully" in done(hugie("update", "features", again, "--json"))
    wait_for("the second revision", lambda: inlet.endpoint("features")["inlet"]["servingRevision"] == 2)
    assert "'state': 'running'" in done(hugie("list", "--json"))

    assert "deleted successfully" in done(hugie("delete", "features", "--force"))
    assert "does not exist so it cannot be deleted" in done(hugie("delete", "features", "-f"))
    assert "No endpoints found" in done(hugie("list"))


def test_refusals_as_hugie_tells_them(
    hugie: Hugie, one_installation: Installation, sample_model: Path, tmp_path: Path
) -> None:
    file = config(tmp_path, sample_model, "refused")
    nobody = hugie("create", file, token="inl_wrong")
    assert (nobody.returncode, "Invalid API token" in nobody.stdout) == (1, True)
    reader = hugie("create", file, token=one_installation.token("read"))
    assert (reader.returncode, "403" in reader.stderr) == (1, True)
    wrong = hugie("create", config(tmp_path, sample_model, "refused", task="poetry"))
    assert (wrong.returncode, "Malformed data" in wrong.stdout) == (1, True)
    unknown = hugie("info", "nothing")
    assert (unknown.returncode, "404" in unknown.stderr) == (1, True)
    done(hugie("create", file := config(tmp_path, sample_model, "refused")))
    taken = hugie("create", file)
    assert (taken.returncode, "already exists" in taken.stdout) == (1, True)
    done(hugie("delete", "refused", "-f"))
