"""Output of replicas: bounded on disk, followed as it comes, whatever is written."""

import asyncio
import os
import resource
import time
from pathlib import Path

import psutil

from inlet.backends.local import keeper
from inlet.backends.local.logs import Logs
from tests.backends.worlds import WITHIN_S, LocalWorld, get, lines, ready


async def test_logs_are_rotated_and_the_newest_lines_kept(home: Path) -> None:
    world = LocalWorld(home, log_bytes=20_000)
    await world.open()
    await world.backend.apply(world.does("chatter", LINES="1000"))
    (replica,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    await world.backend.remove("e1-r1", grace=60)
    await world.until(lambda seen: not seen)
    sizes = {path.name: path.stat().st_size for path in (home / "logs" / "e1").iterdir()}
    assert set(sizes) == {f"{replica.id}.log", f"{replica.id}.log.1"}
    assert all(size <= 20_000 for size in sizes.values())
    kept = [line.line for line in await lines(world.backend, "e1")]
    assert kept[-3:] == ["100 %", "serving", "draining"], "of a progress bar the last state"
    assert all(len(line) <= keeper.LINE_BYTES for line in kept)
    await world.close()


async def test_all_lines_in_order_with_stream_and_time(world: LocalWorld) -> None:
    before = time.time()
    await world.backend.apply(world.does("chatter", LINES="300"))
    (replica,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    await get(replica, "/say/done")
    follower = world.backend.logs("e1", replica_id=replica.id, tail=None, follow=True)
    got = []
    async with asyncio.timeout(WITHIN_S):
        async for line in follower:
            got.append(line)
            if line.line == "done":
                break
    await follower.aclose()
    numbered = [line for line in got if line.line.startswith("line ")]
    assert [int(line.line.split()[1]) for line in numbered] == list(range(300))
    assert {line.stream for line in numbered} == {"stdout"}
    assert all(before - 1 < line.at < time.time() + 1 for line in got)
    assert sum(len(line.line) for line in got if line.line.startswith("y")) == 50_000


async def test_following_shows_what_comes_and_ends_with_the_replica(world: LocalWorld) -> None:
    await world.backend.apply(world.does("serve"))
    (replica,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas

    # What it says as it begins may be written only after its first answer; what comes after it, later still.
    await get(replica, "/say/before")
    async with asyncio.timeout(60):
        async for line in world.backend.logs("e1", replica_id=replica.id, tail=None, follow=True):
            if line.line == "before":
                break
    got: list[str] = []

    async def collect() -> None:
        async for line in world.backend.logs("e1", replica_id=replica.id, tail=0, follow=True):
            got.append(line.line)  # noqa: PERF401 - looked at while it grows

    following = asyncio.create_task(collect())
    async with asyncio.timeout(WITHIN_S):
        while not got:
            await get(replica, "/say/begun")
        await get(replica, "/say/one")
        await get(replica, "/say/two")
        await world.backend.remove("e1-r1", grace=60)
        await following
    assert [line for line in got if line != "begun"] == ["one", "two", "draining"]


async def test_following_an_endpoint_goes_on_to_its_next_replica(world: LocalWorld) -> None:
    await world.backend.apply(world.does("serve"))
    (first,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    follower = world.backend.logs("e1", replica_id=None, tail=None, follow=True)
    seen: set[str] = set()
    async with asyncio.timeout(WITHIN_S):
        async for line in follower:
            if line.replica_id not in seen:
                seen.add(line.replica_id)
                if len(seen) == 2:
                    break
                await world.crash(first)
    await follower.aclose()


def test_a_follower_survives_rotation(tmp_path: Path) -> None:
    from inlet.backends.local.logs import _File

    path = tmp_path / "r.log"
    output = keeper.Output(str(path), 400)
    file = _File(path, "r")
    got: list[str] = []
    got += [line.line for line in file.history()]
    for number in range(60):
        output.feed("stdout", b"number %d\n" % number)
        got += [line.line for line in file.more()]
    file.close()
    assert (tmp_path / "r.log.1").exists()
    assert got == [f"number {number}" for number in range(60)]


async def test_logs_of_many_ended_replicas_need_few_open_files(tmp_path: Path) -> None:
    """An endpoint that slept and woke for a month has thousands."""
    (tmp_path / "e1").mkdir()
    for index in range(300):
        (tmp_path / "e1" / f"r{index:03}.log").write_bytes(b"%d.000000 stdout line %d\n" % (index, index))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds() + 50, before[1]))
    try:
        for follow in (False, True):
            found = Logs(tmp_path).read(
                "e1", replica_id=None, tail=None, follow=follow, alive=lambda name: name == "r299"
            )
            assert [(await anext(found)).line for _ in range(300)] == [f"line {i}" for i in range(300)]
            with (tmp_path / "e1" / "r299.log").open("ab") as log:
                log.write(b"400.000000 stdout more\n")
            if follow:
                assert (await anext(found)).line == "more", "each line once"
            await found.aclose()
            (tmp_path / "e1" / "r299.log").write_bytes(b"299.000000 stdout line 299\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_lines_without_an_end_are_written_when_the_stream_ends(tmp_path: Path) -> None:
    output = keeper.Output(str(tmp_path / "r.log"), 10_000)
    output.feed("stderr", b"half")
    output.feed("stdout", b"whole\n")
    output.feed("stderr", b" a line")
    output.finish()
    written = [line.split(" ", 1)[1] for line in (tmp_path / "r.log").read_text().splitlines()]
    assert written == ["stdout whole", "stderr half a line"]
    assert output.last == ["whole", "half a line"]


def test_a_disk_that_takes_nothing_does_not_stop_the_replica(tmp_path: Path) -> None:
    output = keeper.Output(str(tmp_path / "gone" / "r.log"), 10_000)
    output.feed("stdout", b"lost\n")
    (tmp_path / "gone").mkdir()
    output.feed("stdout", b"kept\n")
    assert (tmp_path / "gone" / "r.log").read_text().endswith("stdout kept\n")


def test_old_logs_of_ended_replicas_are_thrown_away(tmp_path: Path) -> None:
    folder = tmp_path / "e1"
    folder.mkdir()
    for name in ("old-ended.log", "old-alive.log", "new-ended.log", "new-ended.log.1"):
        (folder / name).write_text("x")
    for name in ("old-ended.log", "old-alive.log"):
        os.utime(folder / name, (1.0, 1.0))
    Logs(tmp_path).prune({"old-alive"})
    assert {path.name for path in folder.iterdir()} == {"old-alive.log", "new-ended.log", "new-ended.log.1"}
