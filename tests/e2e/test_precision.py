"""What an endpoint is computed in, from the first answer to the choice that stays: through the router, under load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.reference import reference

from .installation import TOKEN, Installation, installation, wait_for
from .prober import Prober

BODY = {"inputs": "the team won the match after a late goal"}


def info(inlet: Installation) -> dict[str, Any]:
    found: dict[str, Any] = inlet.api.get("/default/topics/info").json()
    return found


def inlet_command(inlet: Installation, *words: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "inlet", *words],
        env={"INLET_HOME": str(inlet.home), "PATH": "/usr/bin:/bin", **env},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def test_the_choice_takes_over_without_a_gap_and_stays(home: Path) -> None:
    model = reference().model("topics")
    env = {"INLET_PRECISION": "auto", "INLET_MODELS": str(model.parent)}
    with installation(home, env=env) as inlet:
        inlet.create("topics", str(model), model__task="text-classification", compute__scaling__minReplica=0)
        inlet.wait_for_state("topics", "running")
        with Prober(f"{inlet.url}/default/topics", TOKEN, BODY, rate=20) as prober:
            settled = wait_for("the choice", lambda: (found := info(inlet)).get("settled") and found)
            seen = len(prober.probes)
            wait_for("answers by the choice", lambda: len(prober.probes) > seen + 20)
        assert {probe.result for probe in prober.probes} == {200}
        artifact = settled["artifact"]
        assert artifact["tried"], settled["reason"]

        described = inlet_command(inlet, "endpoint", "describe", "topics")
        assert f"{settled['variant']}: {settled['reason']}" in " ".join(described.split())
        listed = json.loads(inlet_command(inlet, "artifact", "list", "--output", "json"))
        assert [item["id"] for item in listed["items"]] == [artifact["id"]]
        served = inlet.api.get("/api/inlet/artifacts").json()
        assert [item["id"] for item in served["items"]] == [artifact["id"]]

        # Asleep and woken: the same choice from the first answer on.
        assert inlet.api.post("/v2/endpoint/default/topics/scale-to-zero").status_code == 200
        wait_for("sleep", lambda: not inlet.replicas())
        woken = inlet.api.post("/default/topics", json=BODY)
        assert (woken.status_code, woken.headers["x-inlet-precision"]) == (200, settled["precision"])
        assert info(inlet)["artifact"]["id"] == artifact["id"]


def test_an_endpoint_pins_its_own_precision(home: Path) -> None:
    model = reference().model("topics")
    with installation(home, env={"INLET_MODELS": str(model.parent)}) as inlet:
        inlet.create(
            "topics", str(model), model__task="text-classification", model__env={"INLET_PRECISION": "int8"}
        )
        inlet.wait_for_state("topics", "running")
        answer = inlet.api.post("/default/topics", json=BODY)
        assert (answer.status_code, answer.headers["x-inlet-precision"]) == (200, "int8")
        assert answer.json()[0]["label"] == "sport"

        # Another machine takes over what was made here, and then has nothing left to take.
        (made,) = json.loads(inlet_command(inlet, "artifact", "list", "--output", "json"))["items"]
        pulled = [
            json.loads(
                inlet_command(
                    inlet, "artifact", "pull", inlet.url, "--output", "json",
                    INLET_HOME=str(home.with_name("other")), INLET_PULL_TOKEN=TOKEN,
                )
            )["items"]
            for _ in range(2)
        ]  # fmt: skip
        assert pulled == [[made], []]
        assert (
            made["files"]["graph.bin"]["size"]
            == (home.with_name("other") / "artifacts" / made["id"] / "graph.bin").stat().st_size
        )
