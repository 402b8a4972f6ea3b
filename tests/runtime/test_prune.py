"""What `inlet artifact prune` frees, and what it must leave alone."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from sqlalchemy.engine import URL

from inlet.core.endpoint import Source
from inlet.runtime import locks
from inlet.runtime.artifact import identity
from inlet.runtime.artifact.prune import Freed, prune
from inlet.runtime.artifact.store import Store
from inlet.runtime.artifact.traffic import Recorder, traffic_file
from inlet.runtime.build.encoder import Head
from inlet.runtime.gguf import conversion
from inlet.runtime.gguf.storage import Storage
from inlet.runtime.origins.exports import CONTENTS, LOCK
from inlet.runtime.texts import Text
from inlet.store.sql import SqlStore
from tests.records import endpoint, event
from tests.reference import Reference
from tests.runtime.artifacts import published
from tests.runtime.process import Replica

COMMIT = "c" * 40
SERVED = Source("acme/served", local=False, commit=COMMIT, task="ner")
DAYS = 86_400.0


def key(source: Source) -> dict[str, object]:
    revision = None if source.local else f"{source.location}@{source.commit}"
    return identity.key_of(Path(source.location), revision=revision, head="token", precision="auto")


def old(store: Store, model: str, *, days: float = 100, of: dict[str, object] | None = None) -> Path:
    """The folder of an artifact (for the key `of`) that was last used so many days ago."""
    made_for = of or {"model": model}
    made = published(store, identity.digest(made_for), model=model, key=made_for)
    return aged(store.folder / made.digest, days, within="manifest.json")


def aged(path: Path, days: float, *, within: str = "") -> Path:
    file = path / within if within else path
    when = file.stat().st_mtime - days * DAYS
    os.utime(file, times=(when, when))
    return path


def run(store: Store, *sources: Source, days: float = 30, dry_run: bool = False) -> list[Freed]:
    return prune(store, sources, unused_for=days * DAYS, dry_run=dry_run)


def test_only_what_no_endpoint_needs_and_nobody_used_lately_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fits = key(SERVED)
    kept = [
        old(store, "acme/served", of=fits),
        old(store, "acme/recent", days=29),
    ]
    gone = [
        old(store, "acme/other", of={**fits, "model": f"acme/other@{COMMIT}"}),
        old(store, "acme/served", of={**fits, "model": f"acme/served@{'d' * 40}"}),  # an earlier revision
        old(store, "acme/served", of={**fits, "engines": {"openvino": "1"}}),  # an engine of the past
        old(store, "damaged"),
    ]
    aged_damage = gone[-1] / "manifest.json"
    times = aged_damage.stat()
    aged_damage.write_text("{")
    os.utime(aged_damage, ns=(times.st_atime_ns, times.st_mtime_ns))
    for name in (gone[0].name, kept[0].name, "left-over"):
        (tmp_path / "engine" / name).mkdir(parents=True)
        (tmp_path / "engine" / name / "blob").write_bytes(b"x" * 100)
    found = run(store, SERVED, dry_run=True)
    assert all(folder.is_dir() for folder in (*kept, *gone))
    freed = run(store, SERVED)
    assert freed == found
    assert {item.name for item in freed if item.what == "artifact"} == {folder.name for folder in gone}
    assert all(folder.is_dir() for folder in kept)
    assert not any(folder.exists() for folder in gone)
    # With its engine's cache, which counts; and no key leads to what is gone.
    assert next(item.size for item in freed if item.name == gone[0].name) > 100
    assert [path.name for path in (tmp_path / "engine").iterdir()] == [kept[0].name]
    assert {path.read_text() for path in (tmp_path / "keys").iterdir()} == {folder.name for folder in kept}
    assert run(store, SERVED) == []


def test_a_folder_is_served_as_its_files_are_now(tmp_path: Path) -> None:
    model, store = tmp_path / "model", Store(tmp_path / "artifacts")
    model.mkdir()
    (model / "config.json").write_text("{}")
    source = Source(str(model), local=True, commit=None, task="ner")
    before = old(store, str(model), of=key(source))
    assert run(store, source) == []
    (model / "config.json").write_text('{"trained": "anew"}')
    after = old(store, str(model), of=key(source))
    assert [item.name for item in run(store, source)] == [before.name]
    assert after.is_dir()


def test_what_is_held_stays_however_old(tmp_path: Path) -> None:
    store = Store(tmp_path)
    held = old(store, "acme/held")
    with locks.unused(held / "manifest.json") as free:
        assert free
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from inlet.runtime import locks; locks.use(pathlib.Path(sys.argv[1])); print(1, flush=True); input()",
            str(held / "manifest.json"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline()
    assert run(store, days=0) == []
    holder.communicate()
    assert run(store) == []  # used just now
    assert [item.name for item in run(store, days=0)] == [held.name]


def test_what_was_removed_cannot_be_used(tmp_path: Path) -> None:
    assert not locks.use(tmp_path / "gone")


def test_builds_and_exports_that_did_not_end_go_at_any_age_unless_they_are_under_way(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.building("under-way"):
        for name in ("building/killed", "exports/killed.draft"):
            (tmp_path / name).mkdir(parents=True)
            (tmp_path / name / "graph.bin").write_bytes(b"12345")
        with locks.turn(store.exports / LOCK, print, ""):
            assert [(item.what, item.name, item.size) for item in run(store)] == [
                ("unfinished build", "killed", 5)
            ]
        assert [(item.what, item.name) for item in run(store)] == [("unfinished export", "killed.draft")]
        assert (tmp_path / "building" / "under-way").is_dir()


def test_exports_and_samples_of_models_without_an_endpoint_go(tmp_path: Path) -> None:
    store, revision = Store(tmp_path), f"acme/served@{COMMIT}"
    for name in (identity.export_name(tmp_path, revision=revision, head=Head.TOKEN), "other"):
        (store.exports / name).mkdir(parents=True)
        (store.exports / name / CONTENTS).write_text("{}")
        aged(store.exports / name, 100, within=CONTENTS)
    kept, gone = (
        traffic_file(tmp_path, name, "token-classification") for name in ("acme/served", "acme/gone")
    )
    for path in (kept, gone):
        Recorder(path, 1).see([Text("a text of a caller", "inputs")])
        aged(path, 100)
    assert [(item.what, item.name) for item in run(store, SERVED)] == [
        ("export", "other"),
        ("traffic samples", gone.name),
    ]
    assert kept.is_file()


def test_a_running_replica_keeps_its_artifact(made: Reference, tmp_path: Path) -> None:
    flags = ("--artifacts", str(tmp_path / "artifacts"))
    store, model = Store(tmp_path / "artifacts"), made.model("topics")
    with Replica(tmp_path, model, "text-classification", *flags, env={"INLET_PRECISION": "int8"}) as replica:
        replica.ready()
        (artifact,) = store.all()
        assert any((tmp_path / "artifacts" / "engine" / artifact.folder.name).iterdir())
        assert run(store, days=0) == []
    assert [item.name for item in run(store, days=0)] == [artifact.folder.name]


def test_the_command_knows_the_endpoints_without_a_server(tmp_path: Path) -> None:
    store = Store(tmp_path / "artifacts")
    kept = old(store, "acme/served", of=key(SERVED))
    gone = old(store, "acme/other")
    served = endpoint("mine")
    served = replace(served, target=replace(served.target, source=SERVED))

    async def deploy() -> None:
        records = SqlStore(URL.create("sqlite", database=str(tmp_path / "inlet.db")))
        await records.open()
        await records.add_endpoint(served, event(served))
        await records.close()

    asyncio.run(deploy())

    def command(*flags: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "inlet", "artifact", "prune", "--output", "json", *flags],
            env={**os.environ, "INLET_HOME": str(tmp_path)},
            check=True,
            capture_output=True,
        )
        return [item["name"] for item in json.loads(done.stdout)["items"]]

    assert command("--older-than", "200") == []
    assert command("--dry-run") == [gone.name]
    assert gone.is_dir()
    assert command() == [gone.name]
    assert [artifact.folder for artifact in store.all()] == [kept]


def test_the_command_makes_nothing_where_nothing_is(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "inlet", "artifact", "prune"],
        env={**os.environ, "INLET_HOME": str(tmp_path / "home")},
        check=True,
    )
    assert not (tmp_path / "home").exists()


def test_gguf_files_that_no_endpoint_needs_go(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = tmp_path / "gguf"
    folder.mkdir()
    kept = conversion.file_name(
        Path(SERVED.location), revision=f"{SERVED.location}@{COMMIT}", storage=Storage.Q8_0
    )
    for name in (kept, "unused.gguf", "held.gguf", "new.gguf", "begun.draft"):
        (folder / name).write_bytes(b"12345")
        os.utime(folder / name, (0, 0))
    os.utime(folder / "new.gguf")
    assert locks.use(folder / "held.gguf")
    freed = prune(store, [SERVED], unused_for=DAYS, dry_run=False)
    assert {(item.what, item.name, item.size) for item in freed} == {
        ("GGUF file", "unused.gguf", 5),
        ("unfinished GGUF file", "begun.draft", 5),
    }
    assert {path.name for path in folder.iterdir()} >= {kept, "held.gguf", "new.gguf"}
    assert not (folder / "unused.gguf").exists()
