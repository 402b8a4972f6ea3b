"""Models that torch computes, in whole replicas: images that come back, and models that bring Python files of their own."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import inlet
from inlet.runtime.pipelines.tasks.samples import PICTURE
from tests.reference import ROOT, python
from tests.runtime.process import HUB_CLIENT, Replica

SECRET = "what only the server knows"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    command = "import sys, pathlib, tests.pipelines.models as m; [m.make(n, pathlib.Path(sys.argv[1])) for n in sys.argv[2:]]"
    subprocess.run([python(), "-c", command, folder, "diffusion", "own-code"], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def artist(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("artist")
    with Replica(folder, models / "diffusion", "text-to-image", python=python()) as replica:
        yield replica.ready()


class TestTextToImage:
    @staticmethod
    def drawn(replica: Replica, **parameters: object) -> httpx.Response:
        body = {"inputs": "the red cat", "parameters": {"num_inference_steps": 2, "seed": 3, **parameters}}
        return replica.post(body, **HUB_CLIENT, accept="image/png")

    def test_the_answer_is_an_image_of_the_size_that_was_asked_for(self, artist: Replica) -> None:
        answer = self.drawn(artist, width=24, height=16, guidance_scale=2, negative_prompt="the dog")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
        assert struct.unpack("!4sII", answer.content[12:24]) == (b"IHDR", 24, 16)
        again = self.drawn(artist, width=24, height=16, guidance_scale=2, negative_prompt="the dog")
        assert again.content == answer.content

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("width", 17), ("height", 4_096), ("num_inference_steps", 0), ("seed", -1), ("guidance_scale", "much"),
            ("negative_prompt", 3), ("steps", 3),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named(self, artist: Replica, name: str, value: object) -> None:
        answer = self.drawn(artist, **{name: value})
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(f"parameters.{name}: ")


class TestCodeOfTheModelsOwn:
    def test_it_is_run_in_the_sandbox_and_sees_nothing_of_the_server(
        self, models: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_text(SECRET)
        secrets = [
            tmp_path / "secret",
            tmp_path / "log",
            Path(f"/proc/{os.getpid()}/environ"),
            Path("/proc/1/environ"),
        ]
        places = [
            tmp_path,
            models / "own-code",
            Path(inlet.__file__).parent,
            Path("/repository"),
            Path("/tmp"),
        ]
        env = {
            "HF_TRUST_REMOTE_CODE": "1", "INLET_SECRET": SECRET, "LOOK_AT": ":".join(map(str, secrets)),
            "WRITE_TO": ":".join(map(str, places)),
        }  # fmt: skip
        with Replica(
            tmp_path, models / "own-code", "image-classification", env=env, python=python()
        ) as replica:
            info = replica.ready().http.get("/info").json()
            assert (info["engine"], info["architecture"]) == ("torch", "own")
            if info["sandbox"]["missing"]:
                pytest.skip(f"not to be had here: {info['sandbox']['missing']}")
            labels = [row["label"] for row in replica.ask({"inputs": PICTURE})]
            assert {"dog", "fish"} < set(labels)
            seen = json.loads(max(labels, key=len))
        assert "LOOK_AT" in seen["environment"]
        assert not [
            name for name in seen["environment"] if name.startswith("INLET_") or name == "NOTIFY_SOCKET"
        ]
        assert set(seen["read"][:3]) <= {"FileNotFoundError", "PermissionError"}
        assert SECRET not in seen["read"][3]
        assert seen["written"] == ["/tmp"]

    @pytest.mark.parametrize(
        ("env", "reason"),
        [
            ({}, "if you trust whoever made them, set HF_TRUST_REMOTE_CODE=1 in the endpoint's env"),
            ({"HF_TRUST_REMOTE_CODE": "1", "INLET_ALLOW_CODE": "0"}, "no code from repositories is run here (INLET_ALLOW_CODE=0)"),
        ],
    )  # fmt: skip
    def test_it_is_not_run_unless_the_owner_and_the_server_say_so(
        self, models: Path, tmp_path: Path, env: dict[str, str], reason: str
    ) -> None:
        looking = {"LOOK_AT": "/", "WRITE_TO": str(tmp_path)}
        with Replica(
            tmp_path, models / "own-code", "image-classification", env={**looking, **env}, python=python()
        ) as replica:
            assert replica.ended() == os.EX_CONFIG
        assert reason in replica.termination_log.read_text()
        assert not (tmp_path / "written").exists()
