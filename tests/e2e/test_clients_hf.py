"""`hf endpoints`, the official command line, at two versions; unmodified but for the base address."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.environments import environment

from .clients import HUB, run, told_address
from .installation import TOKEN, Installation

VERSIONS = [version for version in HUB if not version.startswith("0.")]  # older ones have no such command
HARDWARE = (
    "--vendor", "aws", "--region", "us-east-1", "--accelerator", "cpu",
    "--instance-type", "intel-spr", "--instance-size", "x1",
)  # fmt: skip
Hf = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=VERSIONS)
def hf(
    request: pytest.FixtureRequest,
    one_installation: Installation,
    tmp_path: Path,
) -> Hf:
    """`hf("ls")` is `hf endpoints ls`."""
    command = environment(f"hub-{request.param}", *HUB[request.param]).with_name("hf")
    address = told_address(tmp_path / "address", "hf endpoints")

    def call(*words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        env = {
            "PYTHONPATH": str(address),
            "HF_ENDPOINT": one_installation.url,
            "HF_TOKEN": token,
            "HF_HOME": str(tmp_path / "client"),
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }
        return run(str(command), "endpoints", *words, env=env)

    return call


def told(process: subprocess.CompletedProcess[str]) -> Any:
    assert process.returncode == 0, process.stdout + process.stderr
    return json.loads(process.stdout)


def test_the_story_of_an_endpoint(hf: Hf, one_installation: Installation, sample_model: Path) -> None:
    inlet = one_installation
    asked = (
        "--repo", str(sample_model), "--framework", "pytorch", "--task", "sentence-similarity", *HARDWARE,
        "--min-replica", "0", "--scale-to-zero-timeout", "15", "--type", "private", "--env", "GREETING=hello",
    )  # fmt: skip
    made = told(hf("deploy", "mini", *asked, "--format", "json"))
    assert (made["type"], made["status"]["state"]) == ("private", "pending")
    assert made["model"]["env"] == {"GREETING": "hello"}
    inlet.wait_for_state("mini", "running")
    described = told(hf("describe", "mini", "--format", "json"))
    assert described["status"]["url"] == f"{inlet.url}/default/mini"
    row = {
        "name": "mini", "model": str(sample_model), "status": "running", "task": "sentence-similarity",
        "framework": "pytorch", "instance": "intel-spr", "vendor": "aws", "region": "us-east-1",
    }  # fmt: skip
    assert told(hf("ls", "--format", "json")) == [row]
    updated = told(hf("update", "mini", "--max-replica", "2", "--scaling-metric", "pendingRequests",
                      "--scaling-threshold", "3", "--format", "json"))  # fmt: skip
    assert updated["compute"]["scaling"] == {
        "minReplica": 0, "maxReplica": 2, "scaleToZeroTimeout": 15, "measure": {"pendingRequests": 3.0},
    }  # fmt: skip
    for command, state in (
        ("resume", "running"),  # which it is already
        ("pause", "paused"),
        ("resume", "pending"),
        ("scale-to-zero", "scaledToZero"),
    ):
        assert told(hf(command, "mini", "--format", "json"))["status"]["state"] == state, command
    deleted = hf("delete", "mini", "--yes")
    assert deleted.returncode == 0, deleted.stderr
    assert told(hf("ls", "--format", "json")) == []


def test_hardware_and_the_catalogue(hf: Hf) -> None:
    usable = {row["id"]: row for row in told(hf("hardware", "--format", "json"))}
    row = usable["aws-us-east-1-intel-spr-x2"]
    assert (row["price_per_hour"], row["num_cpus"], row["status"]) == (0.067, 2, "available")
    everything = {row["id"]: row for row in told(hf("hardware", "--all", "--format", "json"))}
    assert everything.keys() > usable.keys()
    assert everything["aws-us-east-1-intel-icl-x1"]["status"] == "deprecated"
    listed = hf("catalog", "ls", "--format", "json")
    assert listed.returncode == 0
    assert json.loads(listed.stdout) in ([], {"models": []})  # 2.4, and 1.33
    refused = hf("catalog", "deploy", "--repo", "acme/mini")
    assert refused.returncode == 404 % 256
    assert "This server has no catalogue" in refused.stdout + refused.stderr


def test_refusals_as_exit_codes(hf: Hf, one_installation: Installation, sample_model: Path) -> None:
    for words, token, status, sentence in (
        (("describe", "nothing"), TOKEN, 404, "There is no endpoint 'nothing'"),
        (("ls", "--namespace", "default"), "inl_wrong", 401, "Invalid token"),
        (("pause", "nothing", "--namespace", "default"), one_installation.token("read"), 403,
         "inference.endpoints.write"),
    ):  # fmt: skip
        process = hf(*words, token=token)
        assert process.returncode == status % 256, process.stdout + process.stderr
        assert sentence in process.stdout + process.stderr, words
    # `deploy` and `delete` leave the client's exception to its own handler, which ends with 1.
    asked = ("--repo", str(sample_model), "--framework", "pytorch", *HARDWARE[:-1])
    wrong = hf("deploy", "mini", *asked, "x3")
    assert wrong.returncode == 1
    assert "there is no 'x3' here" in wrong.stdout + wrong.stderr
