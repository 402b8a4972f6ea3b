"""Artifacts: how they are named, kept, found again, made and chosen from; and that a replica serves what was chosen."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from inlet.control.artifacts import manifests
from inlet.core.computing import share_of
from inlet.core.errors import Invalid, NotFound, Refused
from inlet.runtime.artifact import identity, worker
from inlet.runtime.artifact.build import choose
from inlet.runtime.artifact.candidates import finer, int8_variants
from inlet.runtime.artifact.corpus import read_samples
from inlet.runtime.artifact.gate import Verdict
from inlet.runtime.artifact.manifest import Manifest, Tried
from inlet.runtime.artifact.store import GRAPH, Store
from inlet.runtime.artifact.traffic import Recorder, recorded, traffic_file
from inlet.runtime.engines.base import BF16, FP32, Variant
from inlet.runtime.engines.openvino.engine import can_bf16
from inlet.runtime.texts import Text
from tests.reference import Reference
from tests.runtime.artifacts import INT8, job, manifest, published
from tests.runtime.process import Replica, eventually

Start = Callable[..., Replica]
GOOD = {"corpus": Verdict((), {"texts": 300.0})}
BAD = {"corpus": Verdict(("agreement is 0.5, which must be at least 0.97",), {"agreement": 0.5})}


def test_a_manifest_survives_being_written() -> None:
    made = manifest()
    assert Manifest.load(made.dump()) == made
    assert Manifest.load(made.dump()).digest == made.digest != replace(made, reason="other").digest


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "tried": [3]}', b"[" * 100_000]
)
def test_a_damaged_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(Refused, match="damaged"):
        Manifest.load(content)


@pytest.mark.parametrize("wrong", [{"files": 3}, {"files": {GRAPH: {}}}, {"key": [1]}])
def test_a_manifest_with_fields_of_other_kinds_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Refused, match="damaged"):
        Manifest.load(json.dumps({**json.loads(manifest().dump()), **wrong}).encode())


def test_a_manifest_of_another_version_is_refused() -> None:
    with pytest.raises(Refused, match="another version"):
        Manifest.load(json.dumps({"format": 99}).encode())


def test_an_artifact_is_found_by_its_key_and_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path / "artifacts")
    assert store.find("k") is None
    assert store.all() == []
    made = published(store)
    found = store.find("k")
    assert found is not None
    assert found.manifest == made
    assert found.graph is not None
    assert found.graph.read_text() == "a graph"
    assert store.get(made.digest[:8]).folder == found.folder
    assert [artifact.manifest for artifact in store.all()] == [made]
    assert store.find("other") is None
    with pytest.raises(NotFound, match="no artifact"):
        store.get("f" * 64)


def test_an_artifact_that_lost_a_file_is_not_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = published(store)
    (tmp_path / made.digest / GRAPH).write_text("cut")
    assert store.find("k") is None
    with pytest.raises(Refused, match=r"has lost graph\.xml"):
        store.get(made.digest)
    (tmp_path / "keys" / "k").write_bytes(b"\xff")
    assert store.find("k") is None


def test_a_removed_artifact_is_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = published(store)
    store.remove(store.get(made.digest))
    assert store.find("k") is None
    assert store.all() == []
    assert published(store) == made


def test_an_artifact_is_removed_whatever_else_is_gone_or_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.get(published(store).digest)
    (tmp_path / "keys" / "other").write_bytes(b"\xff")
    store.remove(made)
    store.remove(made)  # another process was faster
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["other"]
    again = store.get(published(store).digest)
    shutil.rmtree(tmp_path / "keys")
    store.remove(again)
    assert store.all() == []


def test_builds_that_do_not_end_are_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        with store.building("k"):
            store.begin("k")
    assert store.failures("k") == 2
    store.ended("k")
    assert store.failures("k") == 0
    published(store)
    assert store.failures("k") == 0


def test_one_process_builds_at_a_time(tmp_path: Path) -> None:
    store, entered = Store(tmp_path), threading.Event()

    def second() -> None:
        with Store(tmp_path).building("k") as draft:
            assert list(draft.iterdir()) == []
            entered.set()

    waiting = threading.Thread(target=second)
    with store.building("k") as draft:
        (draft / "left over").touch()
        waiting.start()
        assert not entered.wait(0.2)
    waiting.join(60)
    assert entered.is_set()


def test_the_key_follows_whatever_matters(made: Reference, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(made.model("topics"), folder)

    def key(**changes: Any) -> str:
        asked = {"revision": None, "head": "sequence", "precision": "auto", **changes}
        return identity.digest(identity.key_of(folder, **asked))

    first = key()
    assert key() == first
    assert len({first, key(head="token"), key(precision="int8"), key(revision="a/b@1")}) == 4
    shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copy2)
    (folder / "config.json").touch()
    assert key() != first
    assert identity.cpu_class()


@pytest.mark.parametrize(
    ("times", "verdicts", "chosen"),
    [
        ((20, 10, 5), (GOOD, GOOD), INT8),
        ((20, 10, 5), (GOOD, BAD), BF16),
        ((20, 10, 5), (GOOD, {}), BF16),  # not judged is not passed
        ((20, 10, 5), (BAD, BAD), FP32),
        ((20, 10, 9.5), (GOOD, GOOD), BF16),  # too little gained for what is less exact
        ((20, 19, 18.9), (GOOD, GOOD), FP32),
        ((20, 30, 5), (GOOD, GOOD), INT8),
    ],
)
def test_the_fastest_that_passed_is_chosen_if_it_is_worth_it(
    times: tuple[float, ...], verdicts: tuple[dict[str, Verdict], ...], chosen: Variant
) -> None:
    tried = [
        Tried(variant, {"16": time}, verdict)
        for variant, time, verdict in zip((FP32, BF16, INT8), times, ({}, *verdicts), strict=True)
    ]
    assert choose(tried, "auto")[0] == chosen


def test_pinned_to_int8_a_refused_one_serves_and_says_so() -> None:
    tried = [Tried(FP32, {"16": 20.0}), Tried(INT8, {"16": 5.0}, BAD)]
    chosen, reason = choose(tried, "int8")
    assert chosen == INT8
    assert "did not pass" in reason


def test_groups_divide_the_rows_and_a_step_back_makes_them_finer() -> None:
    (plain,) = int8_variants(768, bf16=False)
    assert (plain.compute, plain.group) == ("f32", 128)
    assert [variant.compute for variant in int8_variants(384, bf16=True)] == ["f32", "bf16"]
    assert {variant.group for variant in int8_variants(320, bf16=True)} == {64}
    back = finer(plain)
    assert back == replace(plain, group=64)
    (small,) = int8_variants(48, bf16=False)
    assert finer(small) is None


@pytest.fixture
def started(made: Reference, tmp_path: Path) -> Iterator[Start]:
    """`started(task, model, …)`: replicas that share one folder of artifacts."""
    running: list[Replica] = []

    def start(model: Path, task: str, **env: str) -> Replica:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        replica = Replica(folder, model, task, "--artifacts", str(tmp_path / "artifacts"), env=env)
        running.append(replica.__enter__())
        return replica

    yield start
    for replica in running:
        replica.__exit__()


def ask(replica: Replica) -> str:
    answer = replica.http.post("/", json={"inputs": "the team won"})
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-inlet-precision"])


def info(replica: Replica) -> dict[str, object]:
    found: dict[str, object] = replica.http.get("/info").json()
    return found


def test_a_classifier_answers_at_once_and_the_choice_takes_over(made: Reference, started: Start) -> None:
    first = started(made.model("topics"), "text-classification").ready()
    before = info(first)
    if before["artifact"] is None:
        assert "until the others are checked" in str(before["reason"])
        assert ask(first) == before["precision"]
    eventually(lambda: info(first)["artifact"])
    after = info(first)
    assert ask(first) == after["precision"]
    if before["artifact"] is None:  # what answers already is not loaded a second time
        stays = before["variant"] == after["variant"]
        wanted = f"{after['precision']} stays: " if stays else f"from now on in {after['precision']}: "
        eventually(lambda: wanted in first.log.read_text())
    # From then on it is fixed: the next one starts with it, and makes nothing.
    second = started(made.model("topics"), "text-classification").ready()
    assert info(second)["artifact"] == after["artifact"]
    assert "beside serving" not in second.log.read_text()


def test_vectors_wait_for_the_choice(made: Reference, started: Start) -> None:
    replica = started(made.model("bare"), "feature-extraction")
    replica.ready()
    assert info(replica)["artifact"] is not None
    assert any("checking" in line for line in replica.told)


def test_a_killed_build_leaves_fp32_and_the_next_start_tries_again(made: Reference, started: Start) -> None:
    replica = started(made.model("topics"), "text-classification").ready()

    def build() -> psutil.Process | None:
        return next(iter(psutil.Process(replica.process.pid).children()), None)

    found = eventually(build)
    os.kill(found.pid, signal.SIGKILL)
    eventually(lambda: info(replica)["precision"] == "fp32")
    assert "killed" in str(info(replica)["reason"])
    assert ask(replica) == "fp32"
    again = started(made.model("topics"), "text-classification").ready()
    eventually(lambda: info(again)["artifact"])


def test_a_build_ends_with_its_replica(made: Reference, started: Start) -> None:
    replica = started(made.model("topics"), "text-classification").ready()
    found = eventually(lambda: next(iter(psutil.Process(replica.process.pid).children()), None))
    replica.process.kill()
    replica.process.wait()
    eventually(lambda: not found.is_running() or found.status() == psutil.STATUS_ZOMBIE)


def test_a_damaged_artifact_is_made_again(made: Reference, started: Start, tmp_path: Path) -> None:
    pinned = {"INLET_PRECISION": "int8"}
    first = started(made.model("topics"), "text-classification", **pinned).ready()
    digest = info(first)["artifact"]["id"]  # type: ignore[index]
    graph = tmp_path / "artifacts" / str(digest) / GRAPH
    graph.write_bytes(b" " * graph.stat().st_size)
    second = started(made.model("topics"), "text-classification", **pinned).ready()
    assert ask(second) == "int8"
    assert info(second)["artifact"]["id"] != digest  # type: ignore[index]
    assert not graph.exists()


def test_builds_that_were_killed_are_not_tried_for_a_while_but_for_a_pinned_precision(
    made: Reference, tmp_path: Path
) -> None:
    model, store = made.model("topics"), Store(tmp_path)
    for precision in ("auto", "int8"):
        key = identity.key_of(model, revision=None, head="sequence", precision=precision)
        for _ in range(3):
            store.begin(identity.digest(key))
    assert store.get(worker.run(job(model, tmp_path, precision="int8"), print)).manifest.tried
    with pytest.raises(Refused, match="3 builds in a row did not end"):
        worker.run(job(model, tmp_path), print)
    for path in (tmp_path / "failed").iterdir():
        os.utime(path, times=(0, path.stat().st_mtime - 3600))
    assert store.get(worker.run(job(model, tmp_path), print)).manifest.tried


def test_samples_for_a_choice_that_was_made_are_refused(made: Reference, tmp_path: Path) -> None:
    model, samples = made.model("topics"), tmp_path / "mine.txt"
    samples.write_text("".join(f"text {number}\n" for number in range(60)))
    digest = worker.run(job(model, tmp_path / "store"), print)
    with pytest.raises(Refused, match=f"inlet artifact remove {digest[:12]}"):
        worker.run(job(model, tmp_path / "store", samples=samples), print)


def test_a_damaged_manifest_keeps_no_other_artifact_from_being_listed(tmp_path: Path) -> None:
    made = published(Store(tmp_path))
    (tmp_path / ("0" * 64)).mkdir()
    (tmp_path / ("0" * 64) / "manifest.json").touch()
    assert [item["id"] for item in manifests(tmp_path)] == [made.digest]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_pinned_precision_is_served(made: Reference, started: Start, precision: str) -> None:
    if precision == "bf16" and not can_bf16():
        pytest.skip("this CPU does not compute in bf16")
    replica = started(made.model("topics"), "text-classification", INLET_PRECISION=precision).ready()
    assert ask(replica) == precision
    assert "pinned by INLET_PRECISION" in str(info(replica)["reason"])


def test_an_unknown_precision_is_refused(made: Reference, started: Start) -> None:
    replica = started(made.model("topics"), "text-classification", INLET_PRECISION="int4")
    assert replica.process.wait(60) == 78
    assert "INLET_PRECISION: 'int4' is none of auto, fp32, bf16, int8" in replica.termination_log.read_text()


def test_an_artifact_of_another_machine_is_checked_and_taken_over(tmp_path: Path) -> None:
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    made = published(there)
    source = there.get(made.digest).folder

    def fetch(name: str) -> list[bytes]:
        return [(source / name).read_bytes()]

    taken = here.adopt(made, fetch)
    assert taken.manifest == made
    assert here.find(identity.digest(made.key)) == taken
    other = replace(made, reason="another choice")
    assert here.adopt(other, fetch) == taken  # a choice stays as it is


def test_what_fits_another_cpu_does_not_fit_this_one(made: Reference) -> None:
    key = identity.key_of(made.model("topics"), revision=None, head="sequence", precision="auto")
    assert identity.fits(key)
    assert not identity.fits({**key, "cpu": "another"})
    assert not identity.fits({**key, "engines": {"openvino": "1"}})
    assert not identity.fits({})


def test_a_share_of_the_traffic_is_kept_for_the_next_check(
    made: Reference, started: Start, tmp_path: Path
) -> None:
    pinned = {"INLET_PRECISION": "fp32", "INLET_SAMPLE_TRAFFIC": "1"}
    replica = started(made.model("topics"), "text-classification", **pinned).ready()
    for number in range(60):
        replica.ask({"inputs": [f"fish number {number}", {"text": "a", "text_pair": str(number)}]})
    path = traffic_file(tmp_path / "artifacts", str(made.model("topics")), "text-classification")
    assert path.stat().st_mode & 0o777 == 0o600
    kept = recorded(path)
    assert len(kept) == 120
    assert (kept[0].text, kept[1].pair, kept[-1].pair) == ("fish number 0", "0", "59")
    # What is judged later is judged by them as well.
    checked = started(made.model("topics"), "text-classification").ready()
    artifact = eventually(lambda: info(checked)["artifact"])
    verdicts = [item["verdicts"] for item in artifact["tried"] if item["verdicts"]]
    assert all(set(found) == {"corpus", "traffic"} for found in verdicts)
    assert all(not found["traffic"]["worst"] for found in verdicts)
    # Nor does anybody learn them who takes the artifact over.
    (kept_manifest,) = (tmp_path / "artifacts").glob("*/manifest.json")
    assert "fish number" not in kept_manifest.read_text()


def test_nothing_is_kept_unasked(made: Reference, started: Start, tmp_path: Path) -> None:
    replica = started(made.model("topics"), "text-classification", INLET_PRECISION="fp32").ready()
    replica.ask({"inputs": "a secret"})
    assert not (tmp_path / "artifacts" / "traffic").exists()


def test_a_file_of_traffic_that_a_killed_process_left_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    recorder = Recorder(path, 1)
    for number in range(60):
        recorder.see([Text(f"text {number}", "inputs")])
    with path.open("a") as file:
        file.write('{"inputs": "cut o')
    assert [text.text for text in recorded(path)] == [f"text {number}" for number in range(60)]
    path.write_text('{"inputs": "too few"}\n')
    assert recorded(path) == []


@pytest.mark.parametrize("share", ["2", "-1", "much", "nan"])
def test_a_share_is_a_number_from_0_to_1(share: str) -> None:
    with pytest.raises(Invalid, match="INLET_SAMPLE_TRAFFIC"):
        share_of(share)


def test_half_a_character_in_a_file_of_samples_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"inputs": "whole"}\n{"inputs": "a\\ud800b"}\n')
    with pytest.raises(Invalid, match="line 2: not JSON"):
        read_samples(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("only one\n", "has 1 texts; a check needs 50"), (b"\xff\n" * 60, "line 1: not UTF-8")],
)
def test_samples_that_cannot_be_used_leave_fp32_and_say_why(
    made: Reference, started: Start, tmp_path: Path, content: str | bytes, reason: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(made.model("topics"), folder)
    (folder / "inlet-samples.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    replica = started(folder, "text-classification").ready()
    eventually(lambda: info(replica)["settled"])
    assert info(replica)["precision"] == "fp32"
    assert reason in str(info(replica)["reason"])
