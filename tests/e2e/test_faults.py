"""What breaks around the processes while callers go on: disks, databases, clocks, the Hub, replicas that hang.

Each fault ends in a clear state, traffic goes on as far as it can, and recovery comes by itself. Several faults share an
installation, since starting one costs more than most of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.database_file import away, locked
from tests.full_disk import fill, free, small_disk
from tests.standins.hub import StandinHub, Trouble

from .installation import TOKEN, Installation, installation, wait_for
from .prober import Prober

BODY = {"inputs": {"source_sentence": "a cat", "sentences": ["a kitten", "a bill"]}}
REPLACED_WITHIN_S = 60.0  # a hung replica is found after 30 seconds at the latest
ANSWERED_WITHIN_S = 45.0  # the store gives up after 5 seconds, or 10 behind others; the machine may be busy


def serve(inlet: Installation, model: Path, name: str = "probed", replicas: int = 1) -> Prober:
    """A running endpoint, and a caller of it at a constant rate who has not begun."""
    inlet.create(
        name, str(model), model__task="sentence-similarity",
        compute__scaling__minReplica=replicas, compute__scaling__maxReplica=replicas,
    )  # fmt: skip
    inlet.wait_for_state(name, "running")
    wait_for("all replicas", lambda: inlet.endpoint(name)["status"]["readyReplica"] == replicas)
    return Prober(f"{inlet.url}/default/{name}", TOKEN, BODY, rate=10, timeout=200)


def told_unavailable(inlet: Installation, words: str) -> None:
    """A change is refused in bounded time, typed, with the reason."""
    began = time.monotonic()
    answer = inlet.api.put("/v2/endpoint/default/probed", json={"tags": [f"t{began}"]})
    assert answer.status_code == 503, answer.text
    assert words in answer.json()["error"]
    assert answer.headers["retry-after"]
    assert time.monotonic() - began < ANSWERED_WITHIN_S


def changes_again(inlet: Installation) -> None:
    def change() -> bool:
        return inlet.api.put("/v2/endpoint/default/probed", json={"tags": ["after"]}).status_code == 200

    wait_for("a change that is taken", change)
    assert inlet.endpoint("probed")["tags"] == ["after"]


def replace_a_replica(inlet: Installation, prober: Prober) -> None:
    """Kill the only one in a moment in which nobody asks it; the router finds its successor although no step is taken."""
    (replica,) = inlet.replicas()
    before = {replica.pid}
    with prober.silence():
        replica.kill()
    replica.wait(60)
    wait_for("another replica", lambda: {p.pid for p in inlet.replicas()} - before)
    prober.wait_for(10)


def failed_only_by_kills(prober: Prober, kills: int) -> None:
    """A request that comes in the moment in which a process dies may be lost with it, and is told so."""
    assert all(p.result == 502 and p.error["state"] == "running" for p in prober.failed), prober.counts
    assert len(prober.failed) <= kills, prober.counts


def lose_the_sockets(inlet: Installation, prober: Prober) -> None:
    """As by a cleaner of temporary files: control comes back with new ones, and so does the replica."""
    before = {p.pid for p in inlet.replicas()}
    shutil.rmtree(inlet.home / "run")
    wait_for(
        "another replica", lambda: (now := {p.pid for p in inlet.replicas()}) and not now & before, within=180
    )
    wait_for("control on a new socket", inlet.is_ready)
    prober.wait_for(10)
    inlet.wait_for_state("probed", "running")


def test_the_database_or_the_sockets_are_gone(home: Path, sample_model: Path) -> None:
    # A replica that lost its socket is found after 47 seconds, and what waits for the next one is held meanwhile.
    env = {"INLET_HOLD_SECONDS": "180"}
    with installation(home, env=env) as inlet, serve(inlet, sample_model) as prober:
        prober.wait_for(10)
        with locked(home / "inlet.db"):
            told_unavailable(inlet, "database is locked")
            assert inlet.endpoint("probed")["status"]["state"] == "running", "reading goes on"
            replace_a_replica(inlet, prober)
        changes_again(inlet)
        with away(home / "inlet.db"):
            told_unavailable(inlet, "put it back")
            assert inlet.api.get("/v2/endpoint/default/probed").status_code == 503
            replace_a_replica(inlet, prober)
            inlet.child("inlet.control").kill()
            prober.wait_for(10)
            assert not (home / "inlet.db").exists(), "no empty one in its place"
        wait_for("control", inlet.is_ready, within=60)
        changes_again(inlet)
        prober.wait_for(10)
        lose_the_sockets(inlet, prober)
    failed_only_by_kills(prober, 3)  # of two replicas, and of one that lost its socket


def test_the_disk_is_full(home: Path, sample_model: Path) -> None:
    with small_disk(home, megabytes=64) as disk, installation(home) as inlet:
        with serve(inlet, sample_model) as prober:
            prober.wait_for(10)
            fill(disk)
            told_unavailable_when_full(inlet)
            prober.wait_for(20)
            assert inlet.endpoint("probed")["status"]["state"] == "running"
            control = inlet.child("inlet.control")
            control.kill()
            control.wait(60)
            wait_for("control, on the full disk", inlet.is_ready, within=60)
            prober.wait_for(10)
            free(disk)
            changes_again(inlet)
            replace_a_replica(inlet, prober)
            inlet.wait_for_state("probed", "running")
        failed_only_by_kills(prober, 1)


def told_unavailable_when_full(inlet: Installation) -> None:
    """The log of the database may have room for some changes yet."""

    def refused() -> bool:
        answer = inlet.api.put("/v2/endpoint/default/probed", json={"tags": ["x" * 40] * 50})
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 503 and "full" in answer.json()["error"]

    wait_for("a refusal that says that the disk is full", refused)


def message(inlet: Installation, name: str) -> str:
    return str(inlet.endpoint(name)["status"]["message"])


def test_the_hub_stalls_and_a_replica_hangs(home: Path, tmp_path: Path, sample_model: Path) -> None:
    for name in ("mini", "stuck"):
        shutil.copytree(sample_model, tmp_path / "acme" / name)
    with StandinHub(tmp_path) as hub, installation(home, env={"HF_ENDPOINT": hub.url}) as inlet:
        with serve(inlet, sample_model, replicas=2) as prober:
            prober.wait_for(10)
            hung = inlet.replicas()[0]
            hung.suspend()
            hub.trouble = Trouble(stalls_after=0)
            for name in ("mini", "stuck"):
                inlet.create(name, f"acme/{name}", model__task="sentence-similarity")
            wait_for(
                "what it waits for",
                lambda: "trying again: the Hub could not be asked" in message(inlet, "mini"),
            )
            assert inlet.api.post("/v2/endpoint/default/stuck/pause").status_code == 200
            assert inlet.endpoint("stuck")["status"]["state"] == "paused", "at once"
            hub.trouble = Trouble(stalls_after=20_000_000)
            assert inlet.api.post("/v2/endpoint/default/stuck/resume").status_code == 200
            for name in ("mini", "stuck"):
                wait_for(
                    "a stalled download", lambda name=name: "no data for" in message(inlet, name), within=120
                )
            inlet.delete("stuck")
            hub.trouble = None
            inlet.wait_for_state("mini", "running")
            wait_for(
                "another replica in place of the hung one",
                lambda: not hung.is_running() and inlet.endpoint("probed")["status"]["readyReplica"] == 2,
                within=2 * REPLACED_WITHIN_S,
            )
            prober.wait_for(20)
        assert inlet.api.post("/default/mini", json=BODY).status_code == 200
    late = [p for p in prober.failed if p.took > REPLACED_WITHIN_S]
    assert late == []
    failed_only_by_kills(prober, 5)  # what the hung replica had taken before it was found


def faketime() -> str:
    """The library that shows a process another time of day."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-q", "libfaketime"], capture_output=True, check=False)
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed, and could not be")
    return str(found[0])


def test_the_clock_is_set_ahead_and_back(home: Path, tmp_path: Path, sample_model: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    env = {
        "LD_PRELOAD": faketime(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",  # as for a clock that is really set
    }
    with installation(home, env=env) as inlet, serve(inlet, sample_model) as prober:
        inlet.create("idle", str(sample_model), model__task="sentence-similarity",
                     compute__scaling__minReplica=0, compute__scaling__scaleToZeroTimeout=15)  # fmt: skip
        inlet.wait_for_state("idle", "running")
        replicas = {p.pid for p in inlet.replicas()}
        for times, offset in enumerate(("+1d", "+0", "-1h"), start=1):
            clock.write_text(offset)
            wait_for("the jump seen", lambda times=times: noticed(inlet, times), within=60, every=0.5)
            prober.wait_for(5)
            assert {inlet.endpoint(name)["status"]["state"] for name in ("probed", "idle")} == {"running"}
            assert {p.pid for p in inlet.replicas()} == replicas
        assert inlet.api.post("/v2/endpoint/default/idle/scale-to-zero").status_code == 200
        wait_for("sleep", lambda: len(inlet.replicas()) == 1)
        clock.write_text("-1d")
        woken = inlet.api.post("/default/idle", json=BODY)
        assert woken.status_code == 200, woken.text
        inlet.create("later", str(sample_model), model__task="sentence-similarity")
        inlet.wait_for_state("later", "running")
    assert prober.failed == []


def noticed(inlet: Installation, times: int) -> bool:
    """Whether control saw that the clock was set so often; a change lets it look at once."""
    assert inlet.api.put("/v2/endpoint/default/probed", json={"tags": [f"{times}"]}).status_code == 200
    return (inlet.home / "logs" / "control.log").read_text().count("clock_was_set") >= times
