"""The official Python client at four versions, each in an environment of its own, unmodified but for the base address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.environments import environment

from .clients import HUB, HUGIE, PAGE, run
from .installation import TOKEN, Installation

STORY = Path(__file__).with_name("story.py")


@pytest.mark.parametrize("version", HUB)
def test_the_story_of_an_endpoint(
    version: str,
    one_installation: Installation,
    sample_model: Path,
    tmp_path: Path,
) -> None:
    inlet = one_installation
    python = environment(f"hub-{version}", *HUB[version])
    env = {"HF_ENDPOINT": inlet.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "client")}
    done = run(str(python), str(STORY), str(sample_model), inlet.token("read"), env=env, within=300)
    assert done.returncode == 0, done.stderr[-4000:] + "\n" + inlet.output()
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["version"] == version
    assert told["states"] == [
        "pending", "running", "updating", "paused", "running", "scaledToZero", "running",
    ]  # fmt: skip
    name = f"story-{version.replace('.', '-')}"
    old = version.startswith("0.")
    assert told["listed"] == told["everywhere"] == [name]
    assert told["fetched"] == f"{inlet.url}/default/{name}"
    assert (told["type"], told["size"]) == (("protected", "medium") if old else ("authenticated", "x2"))
    assert told["similarities"][0] > told["similarities"][1]
    # The same text gives the same answer whatever happened to the endpoint in between.
    assert told["similarities"] == told["async"] == told["after_update"] == told["after_sleep"]
    for what, status, words in (
        ("unknown", 404, "There is no endpoint 'nothing'"),
        ("taken", 409, "choose another"),
        ("invalid", 400, "compute.instanceSize: there is no 'x3' here"),
        ("nobody", 401, "Invalid token"),
        ("reader", 403, "inference.endpoints.write"),
        ("paused", 400, "paused"),
        ("deleted", 404, f"There is no endpoint '{name}'"),
    ):
        assert told["refusals"][what][0] == status, what
        assert words in told["refusals"][what][1], what


def test_the_page_for_users_names_what_is_tried_here() -> None:
    page = PAGE.read_text()
    assert f"| {', '.join(sorted(HUB))} |" in page
    for package in (HUB["2.4.0"][0], *HUGIE):
        assert package in page
