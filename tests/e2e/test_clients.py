"""The official client at two versions, each in an environment of its own, unmodified but for the base address."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .installation import TOKEN, installation

STORY = Path(__file__).with_name("story.py")


@pytest.mark.parametrize("version", ["2.4.0", "0.36.0"])
def test_the_story_of_an_endpoint(
    version: str, home: Path, sample_model: Path, environment: Callable[..., Path]
) -> None:
    packages = [f"huggingface_hub=={version}"] + (["numpy"] if version.startswith("0.") else [])
    python = environment(f"hub-{version}", *packages)
    with installation(home) as inlet:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("INLET_", "HF_"))}
        env |= {"HF_ENDPOINT": inlet.url, "HF_TOKEN": TOKEN, "HF_HOME": str(home / "client")}
        done = subprocess.run(
            [str(python), str(STORY), str(sample_model)],
            env=env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:] + "\n" + inlet.output()
        told = json.loads(done.stdout.splitlines()[-1])
        assert told["states"] == [
            "pending", "running", "updating", "paused", "running", "scaledToZero", "running",
        ]  # fmt: skip
        assert told["version"] == version
        name = f"story-{version.replace('.', '-')}"
        assert told["listed"] == [name]
        assert told["size"] == "x2"
        assert told["paused_answer"] == 400
        assert told["deleted_answer"] == 404
        assert told["similarities"][0] > told["similarities"][1]
        # The same text gives the same answer whatever happened to the endpoint in between.
        assert told["similarities"] == told["after_update"] == told["after_sleep"]
