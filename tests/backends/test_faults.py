"""What this machine does to replicas: disks that are full, processes that hang, folders and descriptors that are gone."""

import asyncio
import os
import resource
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from inlet.backends.local import keeper
from inlet.backends.local.probe import ABSENT, SILENT
from inlet.core.errors import BackendUnavailable
from inlet.core.seen import ExitKind, Phase, SeenReplica
from tests.backends.conftest import keeper_of
from tests.backends.test_supervision import replaced, replica_process, started
from tests.backends.worlds import (
    FAST,
    GIVEN_UP,
    NOTICING,
    WITHIN_S,
    LocalWorld,
    Seen,
    eventually,
    get,
    lines,
    ready,
)
from tests.full_disk import fill, free, small_disk

FULL = "No space left on device"


@contextmanager
def kept_full(disk: Path) -> Iterator[None]:
    """Whatever is freed on it is taken again at once."""
    over = threading.Event()

    def keep() -> None:
        while not over.is_set():
            fill(disk)

    fill(disk)
    filling = threading.Thread(target=keep)
    filling.start()
    try:
        yield
    finally:
        over.set()
        filling.join()
        free(disk)


def text_of(log: list[dict]) -> list[str]:
    return [entry["event"] for entry in log]


# -- disks


def test_lines_that_cannot_be_written_are_counted_where_they_are_missing(tmp_path: Path) -> None:
    log = tmp_path / "r.log"
    output = keeper.Output(str(log), 10_000)
    output.feed("stdout", b"one\n")
    output._fd, disk = os.open("/dev/full", os.O_WRONLY), output._fd
    output.feed("stderr", b"two\nthree\nfo")
    assert output.losing == FULL
    os.close(output._fd)
    output._fd = disk
    output.feed("stderr", b"ur\nfive\n")
    assert output.losing == ""
    texts = [line.split(" ", 1)[1] for line in log.read_text().splitlines()]
    assert texts == [
        "stdout one",
        f"stderr Inlet: lines that were lost here: 2 ({FULL})",
        "stderr four",
        "stderr five",
    ]
    assert output.last[-2:] == ["four", "five"], "for the reason of an end all lines count"


async def test_a_full_disk_for_logs_neither_stops_nor_blocks_a_replica(home: Path) -> None:
    with small_disk(home / "logs", megabytes=1) as disk:
        world = LocalWorld(home)
        await world.open()
        old = await started(world)
        await asyncio.to_thread(fill, disk)
        with structlog.testing.capture_logs() as told:
            for number in range(40):
                assert await get(old, f"/say/{'x' * 4000}{number}") == "Ok"  # far more than a pipe holds
            await asyncio.to_thread(eventually, lambda: "log of a replica not written" in text_of(told))
            assert await get(old, "/health") == "Ok"
        assert text_of(told).count("log of a replica not written") == 1
        await asyncio.to_thread(free, disk)
        await get(old, "/say/afterwards")
        async with asyncio.timeout(WITHIN_S):
            async for line in world.backend.logs("e1", replica_id=old.id, tail=None, follow=True):
                if line.line.startswith("Inlet: lines that were lost here"):
                    assert FULL in line.line
                if line.line == "afterwards":
                    break
        texts = [line.line for line in await lines(world.backend, "e1")]
        assert sum(text.startswith("Inlet: lines that were lost here") for text in texts) == 1
        seen = await world.until(ready("e1-r1"))
        assert seen["e1-r1"].replicas[0].id == old.id
        await world.close()


async def test_on_a_full_disk_an_end_is_still_named_and_the_next_start_waits_for_room(home: Path) -> None:
    with small_disk(home / "replicas", megabytes=2) as disk:
        world = LocalWorld(home)
        await world.open()
        old = await started(world)
        crashed = []

        def hindered(seen: Seen) -> bool:
            last = seen["e1-r1"].last_exit
            if last is not None and last.kind is not ExitKind.NOT_STARTED:
                crashed.append(last)
            return (
                len(seen["e1-r1"].replicas) == 0
                and last is not None
                and "could not be started" in last.message
            )

        with kept_full(disk):
            with pytest.raises(BackendUnavailable, match=FULL):
                await world.backend.apply(world.does("serve", "e2-r1"))
            await get(old, "/crash")
            seen = await world.until(hindered)
            # The crash counts as an end; that there is no room is no fault of the revision.
            assert (seen["e1-r1"].ends, seen["e1-r1"].failed_starts) == (1, 0)
        assert {(exit_.kind, exit_.code) for exit_ in crashed} <= {(ExitKind.CRASHED, 3)}
        seen = await world.until(replaced(old))
        await world.backend.apply(world.does("serve", "e2-r1"))
        await world.until(ready("e2-r1"))
        await world.close()


async def test_a_reason_that_a_person_must_know_survives_a_full_disk(home: Path) -> None:
    with small_disk(home / "replicas", megabytes=2) as disk:
        world = LocalWorld(home)
        await world.open()
        await world.backend.apply(world.does("serve"))
        (replica,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
        with kept_full(disk):
            await get(replica, "/refuse")
            last = (await world.until(lambda seen: seen["e1-r1"].last_exit))["e1-r1"].last_exit
            assert last is not None
            assert (last.kind, last.code) == (ExitKind.CONFIGURATION, 78)
            assert last.message.endswith("The model has no such task")
        await world.close()


# -- replicas that hang


async def test_one_that_is_stopped_gets_no_requests_any_more_and_is_replaced(home: Path) -> None:
    world = LocalWorld(home, timing=NOTICING)
    await world.open()
    old = await started(world)
    os.kill(replica_process(home, old), signal.SIGSTOP)
    seen = await world.until(lambda seen: not seen["e1-r1"].ready)
    assert seen["e1-r1"].replicas[0].detail == "its health check is not answered"
    world.hasten(old)
    last = (await world.until(replaced(old)))["e1-r1"].last_exit
    assert last is not None
    assert last.kind is ExitKind.UNRESPONSIVE
    await world.close()


async def test_one_that_hangs_for_a_while_only_is_kept(home: Path) -> None:
    world = LocalWorld(home, timing=NOTICING)
    await world.open()
    old = await started(world)
    process = replica_process(home, old)
    os.kill(process, signal.SIGSTOP)
    await world.until(lambda seen: not seen["e1-r1"].ready)
    os.kill(process, signal.SIGCONT)
    seen = await world.until(ready("e1-r1"))
    assert (seen["e1-r1"].replicas[0].id, seen["e1-r1"].replicas[0].detail) == (old.id, "")
    await world.close()


async def test_one_that_computes_with_all_its_threads_is_kept(world: LocalWorld) -> None:
    old = await started(world)
    replica = world.backend._supervisors["e1-r1"].replicas[old.id]
    await get(old, "/compute")
    for _ in range(4 * GIVEN_UP):
        replica.probed.clear()
        async with asyncio.timeout(WITHIN_S):
            await replica.probed.wait()
        assert replica.phase is Phase.RUNNING
    assert set(world.backend._supervisors["e1-r1"].replicas) == {old.id}


async def test_one_that_hung_before_control_came_back_is_found_as_well(home: Path) -> None:
    world = LocalWorld(home)
    await world.open()
    old = await started(world)
    os.kill(replica_process(home, old), signal.SIGSTOP)
    world.timing = replace(NOTICING, starting_failures=4)
    await world.restart(keep_replicas=True)
    await world.backend.apply(world.does("serve"))
    last = (await world.until(replaced(old)))["e1-r1"].last_exit
    assert last is not None
    assert last.kind is ExitKind.UNRESPONSIVE
    await world.close()


async def test_a_keeper_that_hangs_does_not_keep_a_replica_from_being_removed(home: Path) -> None:
    world = LocalWorld(home, timing=replace(FAST, keeper_late=0.1))
    await world.open()
    old = await started(world)
    os.kill(keeper_of(home, old.id), signal.SIGSTOP)
    await world.backend.remove("e1-r1", grace=0)
    await world.until(lambda seen: not seen)
    await world.close()


async def test_how_long_one_takes_to_listen_is_not_held_against_it(world: LocalWorld, home: Path) -> None:
    await world.backend.apply(world.does("wait", UNTIL_THERE_IS=str(home / "go")))
    await world.until(lambda seen: seen["e1-r1"].replicas)
    ((_, replica),) = world.backend._supervisors["e1-r1"].replicas.items()
    for _ in range(10 * FAST.starting_failures):
        replica._learn(ABSENT)
    for _ in range(FAST.starting_failures - 1):
        replica._learn(SILENT)
    assert replica.phase is not Phase.TERMINATING
    replica._learn(SILENT)
    assert replica.phase is Phase.TERMINATING


async def test_one_that_answers_garbage_is_never_ready(world: LocalWorld) -> None:
    await world.backend.apply(world.does("garbage"))
    await world.until(lambda seen: seen["e1-r1"].replicas)
    seen = await world.until(lambda seen: seen["e1-r1"].last_exit is not None)
    assert seen["e1-r1"].last_exit.kind is ExitKind.UNRESPONSIVE
    assert not seen["e1-r1"].ready


async def test_one_that_begins_to_answer_garbage_is_replaced(world: LocalWorld) -> None:
    old = await started(world)
    await get(old, "/garbage")
    await world.until(lambda seen: not seen["e1-r1"].ready)
    world.hasten(old)
    await world.until(replaced(old))


# -- what is gone under our feet


async def test_a_socket_that_is_gone_is_made_anew_with_a_new_replica(world: LocalWorld, home: Path) -> None:
    old = await started(world)
    await asyncio.to_thread(shutil.rmtree, home / "run")
    world.hasten(old)
    await world.until(replaced(old))


async def test_a_socket_that_was_gone_before_control_came_back_is_found(home: Path) -> None:
    world = LocalWorld(home)
    await world.open()
    old = await started(world)
    await asyncio.to_thread(Path(str(old.address).removeprefix("unix:")).unlink)
    await world.restart(keep_replicas=True)
    await world.backend.apply(world.does("serve"))
    await world.until(replaced(old))
    await world.close()


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process may open none."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_a_control_that_cannot_ask_for_want_of_files_kills_nobody(world: LocalWorld) -> None:
    old: SeenReplica = await started(world)
    world.hasten(old)
    with structlog.testing.capture_logs() as told, no_more_files():
        await asyncio.to_thread(eventually, lambda: text_of(told).count("replica not asked") > 2 * GIVEN_UP)
    seen = await world.until(ready("e1-r1"))
    assert seen["e1-r1"].replicas[0].id == old.id
