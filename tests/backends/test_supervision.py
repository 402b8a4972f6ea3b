"""Replicas end in every way there is: each is named, replaced, and leaves nothing behind."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from inlet.backends.local.supervisor import backoff
from inlet.core.seen import ExitKind, Phase, SeenReplica
from tests.backends.conftest import keeper_of, processes_of
from tests.backends.worlds import (
    FAST,
    GIVEN_UP,
    NOTICING,
    WITHIN_S,
    LocalWorld,
    eventually,
    get,
    ready,
)


def replica_process(home: Path, replica: SeenReplica) -> int:
    """The process id of the replica itself: the child of its keeper."""
    keeper = keeper_of(home, replica.id)
    (pid,) = (
        pid
        for pid in processes_of(home)
        if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == keeper
    )
    return pid


async def started(world: LocalWorld, does: str = "serve", **env: str) -> SeenReplica:
    await world.backend.apply(world.does(does, **env))
    return (await world.until(ready("e1-r1")))["e1-r1"].replicas[0]


def replaced(old: SeenReplica):
    return lambda seen: ready("e1-r1")(seen) and seen["e1-r1"].replicas[0].id != old.id


async def test_a_killed_replica_is_replaced_and_the_signal_named(world: LocalWorld, home: Path) -> None:
    old = await started(world)
    os.kill(replica_process(home, old), signal.SIGKILL)
    last = (await world.until(replaced(old)))["e1-r1"].last_exit
    assert last is not None
    assert last.kind is ExitKind.CRASHED
    assert last.message.startswith("Killed by SIGKILL")


async def test_a_killed_keeper_takes_its_replica_along_and_is_replaced(world: LocalWorld, home: Path) -> None:
    old = await started(world, "leave-behind")
    assert len(processes_of(home)) == 3  # keeper, replica, and the process that it left behind
    os.kill(keeper_of(home, old.id), signal.SIGKILL)
    seen = await world.until(replaced(old))
    assert seen["e1-r1"].last_exit is not None
    assert "keeps the replica was killed" in seen["e1-r1"].last_exit.message
    await world.backend.stop(keep_replicas=True)  # waits for what is still being cleared away
    eventually(lambda: len(processes_of(home)) == 3)  # what was killed takes a moment to be gone
    await world.open()


async def test_what_a_replica_leaves_behind_ends_with_it(world: LocalWorld, home: Path) -> None:
    await started(world, "leave-behind")
    await world.backend.remove("e1-r1", grace=5)
    await world.until(lambda seen: not seen)
    assert processes_of(home) == []


async def test_a_replica_that_somebody_else_stops_is_replaced_while_it_drains(
    world: LocalWorld, home: Path
) -> None:
    old = await started(world, DRAINED_WHEN_THERE_IS=str(home / "drained"))
    os.kill(replica_process(home, old), signal.SIGTERM)
    seen = await world.until(lambda seen: len(seen["e1-r1"].replicas) == 2 and seen["e1-r1"].ready)
    assert {r.id: r.phase for r in seen["e1-r1"].replicas}[old.id] is Phase.TERMINATING
    (home / "drained").touch()
    seen = await world.until(replaced(old))
    assert (seen["e1-r1"].failed_starts, seen["e1-r1"].last_exit) == (0, None), "nothing was wrong with it"


async def test_one_that_has_drained_and_closed_its_socket_is_no_crash(world: LocalWorld, home: Path) -> None:
    begins, drained, ends = home / "begins", home / "drained", home / "ends"
    begins.touch()
    files = {"UNTIL_THERE_IS": begins, "DRAINED_WHEN_THERE_IS": drained, "ENDS_WHEN_THERE_IS": ends}
    old = await started(world, "wait", **{name: str(path) for name, path in files.items()})
    replica = world.backend._supervisors["e1-r1"].replicas[old.id]
    begins.unlink()  # the next one is long in coming, so that nobody tells this one to stop
    os.kill(replica_process(home, old), signal.SIGTERM)
    await world.until(lambda seen: len(seen["e1-r1"].replicas) == 2)
    drained.touch()
    async with asyncio.timeout(WITHIN_S):
        while not replica._failures:  # nobody listens any more
            replica.probed.clear()
            await replica.probed.wait()
    assert replica.phase is Phase.TERMINATING
    ends.touch()
    await world.until(lambda seen: old.id not in {each.id for each in seen["e1-r1"].replicas})
    begins.touch()
    seen = await world.until(replaced(old))
    assert (seen["e1-r1"].failed_starts, seen["e1-r1"].last_exit) == (0, None)


async def test_a_replica_that_goes_silent_is_replaced(home: Path) -> None:
    world = LocalWorld(home, timing=NOTICING)
    await world.open()
    old = await started(world)
    await get(old, "/silent")
    world.hasten(old)
    last = (await world.until(replaced(old)))["e1-r1"].last_exit
    assert last is not None
    assert last.kind is ExitKind.UNRESPONSIVE
    assert f"{GIVEN_UP} times in a row" in last.message
    await world.close()


async def test_one_that_says_that_it_starts_again_gets_no_requests_and_is_left_alone(home: Path) -> None:
    world = LocalWorld(home, timing=NOTICING)
    await world.open()
    old = await started(world)
    world.hasten(old)
    await get(old, "/away")
    seen = await world.until(lambda seen: not seen["e1-r1"].ready)
    assert (seen["e1-r1"].replicas[0].phase, seen["e1-r1"].replicas[0].detail) == (
        Phase.INITIALIZING,
        "not yet",
    )
    replica = world.backend._supervisors["e1-r1"].replicas[old.id]
    for _ in range(GIVEN_UP + 2):
        replica.probed.clear()
        async with asyncio.timeout(WITHIN_S):
            await replica.probed.wait()
    await get(old, "/back")
    seen = await world.until(ready("e1-r1"))
    assert seen["e1-r1"].replicas[0].id == old.id
    await world.close()


async def test_a_stubborn_replica_is_killed_at_the_end_of_the_grace(home: Path) -> None:
    """Of the one that was told, and by its keeper: the usual one, and control's last resort, would come too late."""
    world = LocalWorld(home, drain_seconds=3600.0, timing=replace(FAST, keeper_late=3600.0))
    await world.open()
    await started(world, "stubborn")
    began = time.monotonic()
    await world.backend.remove("e1-r1", grace=0.4)
    await world.until(lambda seen: not seen)
    assert time.monotonic() - began >= 0.4
    await world.close()


async def test_asked_again_with_less_grace_it_ends_sooner(world: LocalWorld) -> None:
    await started(world, "stubborn")
    await world.backend.remove("e1-r1", grace=600)
    await world.backend.remove("e1-r1", grace=0.1)
    await world.until(lambda seen: not seen)


async def test_a_draining_replica_finishes_what_it_has(world: LocalWorld, home: Path) -> None:
    replica = await started(world, DRAINED_WHEN_THERE_IS=str(home / "drained"))
    await world.backend.remove("e1-r1", grace=60)
    assert await get(replica, "/anything") == "Ok"
    (home / "drained").touch()
    await world.until(lambda seen: not seen)


async def test_the_count_starts_anew_once_a_replica_has_lasted(home: Path) -> None:
    world = LocalWorld(home)
    await world.open()
    old = await started(world)
    await world.crash(old)
    seen = await world.until(replaced(old))
    assert seen["e1-r1"].ends == 1
    world.timing = replace(FAST, settle=0.3)  # only now: the first one must not have lasted before it crashes
    await world.restart(keep_replicas=True)
    await world.backend.apply(world.does("serve"))
    seen = await world.until(lambda seen: seen["e1-r1"].ends == 0)
    assert seen["e1-r1"].last_exit is not None, "how the last one ended is still of interest"
    lasted = seen["e1-r1"].replicas[0]
    await world.crash(lasted)
    seen = await world.until(replaced(lasted))
    assert seen["e1-r1"].ends == 0, "a replica that had lasted does not count"
    await world.close()


async def test_only_a_start_that_never_became_ready_has_failed_however_soon_others_end(
    world: LocalWorld,
) -> None:
    old = await started(world)
    for ends in range(1, 7):
        await world.crash(old)
        seen = await world.until(replaced(old))
        assert (seen["e1-r1"].ends, seen["e1-r1"].failed_starts) == (ends, 0)
        old = seen["e1-r1"].replicas[0]
    await world.backend.apply(world.does("crash"))  # as the next ones will
    await world.crash(old)
    seen = await world.until(lambda seen: seen["e1-r1"].failed_starts >= 2)
    assert seen["e1-r1"].ends == 7 + seen["e1-r1"].failed_starts
    await world.backend.apply(world.does("serve"))
    seen = await world.until(ready("e1-r1"))
    assert seen["e1-r1"].failed_starts == 0
    assert seen["e1-r1"].ends > 7, "none of them has lasted"


async def test_a_command_that_does_not_exist_is_a_crash_with_its_reason(home: Path) -> None:
    world = LocalWorld(home, command=lambda _launch, _placement: ["/no/such/program"])
    await world.open()
    await world.backend.apply(world.does("serve"))
    seen = await world.until(lambda seen: seen["e1-r1"].failed_starts >= 2)
    assert seen["e1-r1"].last_exit is not None
    assert seen["e1-r1"].last_exit.code == 127
    assert "No such file or directory" in seen["e1-r1"].last_exit.message
    await world.close()


async def test_progress_is_shown_before_readiness(world: LocalWorld) -> None:
    await world.backend.apply(world.does("never"))
    seen = await world.until(lambda seen: seen["e1-r1"].replicas[0].detail)
    replica = seen["e1-r1"].replicas[0]
    assert (replica.phase, replica.detail) == (Phase.INITIALIZING, "warming up")


@pytest.mark.parametrize(
    ("ends", "seconds"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (6, 16), (7, 30), (5000, 30)]
)
def test_backoff_doubles_up_to_its_bound(ends: int, seconds: float) -> None:
    assert backoff(ends, 30.0) == seconds
