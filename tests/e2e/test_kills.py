"""kill -9 of every process, under load: the same endpoints are back within 10 s, nothing forgotten, nothing stray."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from .installation import TOKEN, Installation, installation, wait_for
from .prober import Prober

BODY = {"inputs": "How do I get my money back?"}
BACK_WITHIN_S = 10.0


def serve(inlet: Installation, model: Path, replicas: int = 1) -> str:
    """One running endpoint; its URL."""
    inlet.create(
        "probed", str(model), model__task="feature-extraction",
        compute__scaling__minReplica=replicas, compute__scaling__maxReplica=replicas,
    )  # fmt: skip
    inlet.wait_for_state("probed", "running")
    wait_for("all replicas ready", lambda: inlet.endpoint("probed")["status"]["readyReplica"] == replicas)
    return str(inlet.endpoint("probed")["status"]["url"])


def running(inlet: Installation) -> set[str]:
    """The ids of the replicas that are ready, as the API shows them now."""
    items = inlet.api.get("/v2/endpoint/default/probed/replica").json()["items"]
    return {item["id"] for item in items if item["status"]["stage"] == "running"}


def names(inlet: Installation) -> list[str]:
    return [e["name"] for e in inlet.api.get("/v2/endpoint/default").json()["items"]]


def kill(process: psutil.Process) -> tuple[float, float]:
    """When the signal was sent, and when the process was gone, and its sockets with it."""
    killed = time.monotonic()
    process.kill()
    process.wait(10)
    return killed, time.monotonic()


def report(capsys: pytest.CaptureFixture[str], what: str, prober: Prober, back: float | None = None) -> None:
    """One line of what was seen: for the README's table, and for whoever watches the suite."""
    after = "" if back is None else f" back after {back:.2f} s;"
    with capsys.disabled():
        print(f"\n  {what}:{after} {dict(prober.counts)}; slowest {prober.slowest():.2f} s")


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_killed_replica(
    replicas: int, home: Path, sample_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with installation(home) as inlet:
        url = serve(inlet, sample_model, replicas)
        names_before = running(inlet)
        with Prober(url, TOKEN, BODY) as prober:
            prober.wait_for(50)
            killed, gone = kill(inlet.replicas()[0])
            wait_for(
                "a replica in its place",
                lambda: len(now := running(inlet)) == replicas and now != names_before,
                within=BACK_WITHIN_S,
            )
            back = time.monotonic() - killed
            prober.wait_for(50)
        report(capsys, f"replica killed (of {replicas})", prober, back)
        # Only what was in flight on it, or came in the moment of its death, may fail, and with a typed error.
        assert {p.result for p in prober.failed} <= {502}
        told = [round(p.at - killed, 3) for p in prober.failed if not killed - 1.0 < p.at < gone + 0.05]
        assert told == []
        assert len(inlet.replicas()) == replicas


def test_a_killed_control(home: Path, sample_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with installation(home) as inlet:
        url = serve(inlet, sample_model)
        replicas = {p.pid for p in inlet.replicas()}
        with Prober(url, TOKEN, BODY) as prober:
            prober.wait_for(50)
            killed, _ = kill(inlet.child("inlet.control"))
            wait_for("the API", inlet.is_ready, within=BACK_WITHIN_S)
            back = time.monotonic() - killed
            prober.wait_for(100)
        report(capsys, "control killed", prober, back)
        assert prober.failed == []
        assert names(inlet) == ["probed"]
        assert inlet.wait_for_state("probed", "running")["status"]["readyReplica"] == 1
        assert {p.pid for p in inlet.replicas()} == replicas


def test_a_killed_router(home: Path, sample_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with installation(home) as inlet:
        url = serve(inlet, sample_model)
        replicas = {p.pid for p in inlet.replicas()}
        with Prober(url, TOKEN, BODY) as prober:
            prober.wait_for(50)
            killed, gone = kill(inlet.child("inlet.router"))
            prober.wait_for(1)  # nothing that the old one had answered can come any more
            back = time.monotonic() - killed
            prober.wait_for(100)
        report(capsys, "router killed", prober, back)
        # Connections that were open die with it; whoever comes later waits for its successor.
        late = [(round(p.at - killed, 3), p.result) for p in prober.failed if p.at - gone > 0.05]
        assert late == []
        assert back < BACK_WITHIN_S
        assert {p.pid for p in inlet.replicas()} == replicas


def test_a_killed_parent(home: Path, sample_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with installation(home) as inlet:
        url = serve(inlet, sample_model)
        replicas = {p.pid for p in inlet.replicas()}
        asleep = inlet.create("asleep", str(sample_model), model__task="feature-extraction",
                              compute__scaling__minReplica=0)  # fmt: skip
        inlet.wait_for_state("asleep", "running")
        assert inlet.api.post("/v2/endpoint/default/asleep/scale-to-zero").status_code == 200
        children = [inlet.child("inlet.router"), inlet.child("inlet.control")]
        with Prober(url, TOKEN, BODY, rate=20) as prober:
            prober.wait_for(20)
            killed = time.monotonic()
            inlet.kill_parent()
            inlet.start(within=BACK_WITHIN_S)
            prober.wait_for(1)
            back = time.monotonic() - killed
            prober.wait_for(20)
        report(capsys, "parent killed, started again", prober, back)
        assert back < BACK_WITHIN_S
        assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in children)
        assert sorted(names(inlet)) == ["asleep", "probed"]
        assert inlet.endpoint("probed")["status"]["state"] == "running"
        assert inlet.endpoint("asleep")["status"]["state"] == "scaledToZero"
        assert inlet.endpoint("asleep")["status"]["createdAt"] == asleep["status"]["createdAt"]
        wait_for("the end of the replica that is to sleep", lambda: len(inlet.replicas()) == 1)
        assert {p.pid for p in inlet.replicas()} == replicas, "the running one was adopted, not replaced"
        # Asleep means asleep, and it still wakes.
        answer = inlet.api.post("/default/asleep", json=BODY)
        assert answer.status_code == 200, answer.text
