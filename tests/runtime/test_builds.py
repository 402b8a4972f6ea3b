"""Builds beside each other and beside what goes wrong: turns, hanging, being stopped, samples, and what may be said of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from inlet.core.errors import Unavailable
from inlet.runtime import apart
from inlet.runtime.artifact import worker
from inlet.runtime.artifact.corpus import MAX_SAMPLES
from inlet.runtime.artifact.make import judged_by
from inlet.runtime.artifact.store import Store
from inlet.runtime.artifact.traffic import Recorder, recorded
from inlet.runtime.build.encoder import Head
from inlet.runtime.model import open_model
from inlet.runtime.texts import Text
from tests.reference import Reference
from tests.runtime.artifacts import job
from tests.runtime.process import Replica, eventually


def children(process: int) -> list[psutil.Process]:
    return psutil.Process(process).children()


def test_one_model_is_built_at_a_time_and_the_next_one_says_that_it_waits(
    made: Reference, tmp_path: Path
) -> None:
    store, told, digests = Store(tmp_path), [], []
    with store.building("another"):
        pass  # makes the folder of locks
    wanted = job(made.model("topics"), tmp_path)
    building = threading.Thread(target=lambda: digests.append(worker.run(wanted, told.append)))
    with store.computing(print):
        building.start()
        eventually(lambda: told)
    building.join(60)
    assert [line for line in told if "waiting" in line] == [
        "waiting while another model is built on this machine"
    ]
    assert any("timing" in line for line in told)
    assert [artifact.manifest.digest for artifact in store.all()] == digests


def test_a_process_that_hangs_is_ended() -> None:
    heard: list[Any] = []
    before = children(os.getpid())
    with pytest.raises(Unavailable, match=r"the build made no progress for 0\.5 s and was ended"):
        apart.run(
            "the build", "timeit", ["-n1", "-r1", "import time; time.sleep(1e6)"], heard.append, silence=0.5
        )
    assert children(os.getpid()) == before
    assert heard == []


def test_a_build_that_hangs_says_how_far_it_got(made: Reference, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"the build made no progress .* the last that it said: nothing"):
        worker.run(job(made.model("topics"), tmp_path), print, silence=0)


def test_a_build_that_ends_with_its_draining_replica_has_not_failed(made: Reference, tmp_path: Path) -> None:
    flags = ("--artifacts", str(tmp_path / "artifacts"))
    failed = tmp_path / "artifacts" / "failed"
    with Replica(tmp_path, made.model("topics"), "text-classification", *flags) as replica:
        replica.ready()
        eventually(lambda: failed.is_dir() and any(failed.iterdir()))
        for child in children(replica.process.pid):
            with contextlib.suppress(ProcessLookupError):  # it was quick
                os.kill(child.pid, signal.SIGSTOP)
        replica.terminate()
        assert replica.ended() == 0
    assert not any(failed.iterdir())
    assert "Traceback" not in replica.log.read_text()


def test_a_start_that_waits_for_its_build_ends_at_once_as_well(made: Reference, tmp_path: Path) -> None:
    flags = ("--artifacts", str(tmp_path / "artifacts"))
    failed = tmp_path / "artifacts" / "failed"
    with Replica(tmp_path, made.model("bare"), "feature-extraction", *flags) as replica:
        eventually(lambda: failed.is_dir() and any(failed.iterdir()))
        for child in children(replica.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGSTOP)
        replica.terminate()
        assert replica.ended() == 0
    assert not any(failed.iterdir())
    assert not replica.termination_log.exists()


def test_one_that_was_stopped_takes_back_only_itself(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        with store.building("k"):
            store.begin("k")
    store.cancelled("k")
    assert store.failures("k") == 1
    store.cancelled("k")
    assert store.failures("k") == 0
    store.cancelled("k")
    assert store.failures("k") == 0


def test_replicas_together_keep_no_more_samples_than_one(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    replicas = [Recorder(path, 1) for _ in range(5)]
    for round_ in range(5):
        for number, replica in enumerate(replicas):
            replica.see([Text(f"{round_} {number} {index}", "inputs") for index in range(100)])
    kept = recorded(path)
    assert len(path.read_bytes().splitlines()) == len(kept) == MAX_SAMPLES
    assert {text.text.split()[1] for text in kept} == {"0", "1", "2", "3", "4"}
    with path.open("a") as file:
        file.write('{"inputs": "one too many"}\n')
    before = path.read_bytes()
    Recorder(path, 1).see([Text("a", "inputs"), Text("b", "inputs")])
    assert path.read_bytes() == before


def test_samples_that_were_removed_are_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    recorder = Recorder(path, 1)
    recorder.see([Text(f"text {number}", "inputs") for number in range(MAX_SAMPLES - 1)])
    path.unlink()
    recorder.see([Text(f"new {number}", "inputs") for number in range(60)])
    assert len(recorded(path)) == 60


def test_files_of_samples_with_one_name_are_different_sets(made: Reference, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(made.model("topics"), model)
    (tmp_path / "mine").mkdir()
    mine, theirs = tmp_path / "mine" / "inlet-samples.txt", model / "inlet-samples.txt"
    for path, word in ((mine, "my"), (theirs, "their")):
        path.write_text("".join(f"{word} text {number}\n" for number in range(60)))
    opened = open_model(model, task="text-classification", head=Head.SEQUENCE)
    sets = judged_by(opened, job(model, tmp_path / "store", samples=mine), print)
    texts = {
        trial.encoded[0].text.text for name, trial in sets.items() if name.startswith("inlet-samples.txt (")
    }
    assert texts == {"my text 0", "their text 0"}


def test_no_path_of_the_installation_is_in_a_reason(made: Reference, tmp_path: Path) -> None:
    artifacts = tmp_path / "home" / "artifacts"
    artifacts.mkdir(parents=True)
    (artifacts / "locks").touch()
    flags = ("--artifacts", str(artifacts))
    with Replica(tmp_path, made.model("topics"), "text-classification", *flags) as replica:
        replica.ready()
        eventually(lambda: replica.http.get("/info").json()["settled"])
        reason = replica.http.get("/info").json()["reason"]
    assert "…/locks cannot be made a folder" in reason
    assert str(tmp_path) not in reason
    assert str(artifacts / "locks") in replica.log.read_text()  # for who runs it
    env = {"INLET_PRECISION": "int8"}
    with Replica(tmp_path / "home", made.model("topics"), "text-classification", *flags, env=env) as pinned:
        assert pinned.ended() == 78
    assert "…/locks cannot be made a folder" in pinned.termination_log.read_text()
