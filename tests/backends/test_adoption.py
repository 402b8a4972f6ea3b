"""Control is killed, and the next one finds everything: what runs is adopted, what is not on record is ended."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from inlet.backends.local import keeper
from inlet.backends.local.records import KeeperRecord
from inlet.core.errors import BackendUnavailable
from inlet.core.seen import ExitKind, Phase
from tests.backends.conftest import Driver, assert_clean, keeper_of, kept, kill, processes_of
from tests.backends.worlds import FAST, WITHIN_S, LocalWorld, get, lines, ready, replica_set

SERVE_TWO = json.dumps([{"does": "serve", "name": "e1-r1", "n": 2}])


def all_ready(n: int) -> Callable[[dict], bool]:
    return lambda seen: sum(r["phase"] == "running" for each in seen.values() for r in each["replicas"]) == n


def held(home: Path, driver: Callable[..., Driver], sets: str = SERVE_TWO, n: int = 2) -> dict:
    """Let a control bring sets up, then kill it; what it last saw."""
    control = driver(home, "hold", sets)
    seen = control.until(all_ready(n))
    control.kill()
    return seen


async def open_world(home: Path) -> LocalWorld:
    world = LocalWorld(home)
    await world.open()
    return world


async def test_a_killed_control_leaves_replicas_that_the_next_one_adopts(
    home: Path, driver: Callable[..., Driver]
) -> None:
    before = held(home, driver)
    running = set(processes_of(home))
    world = await open_world(home)
    (found,) = await world.backend.observe()
    assert {r.id for r in found.ready} == {r["id"] for r in before["e1-r1"]["replicas"]}
    assert {r.started_at for r in found.ready} == {r["started_at"] for r in before["e1-r1"]["replicas"]}
    assert (found.endpoint_id, found.revision, found.n) == ("e1", 1, 2)
    assert asdict(found.limits) == before["e1-r1"]["limits"]
    assert set(processes_of(home)) == running
    assert await get(found.ready[0], "/anything") == "Ok"
    await world.close()


async def test_replicas_of_an_earlier_version_are_adopted(home: Path, driver: Callable[..., Driver]) -> None:
    before = held(home, driver)
    written = home / "replicas" / "e1-r1" / "set.json"
    written.write_text(
        json.dumps({**json.loads(written.read_text()), "limits": "enforced (cgroup v1): 1 vCPU, 2.0 GB"})
    )
    world = await open_world(home)
    (found,) = await world.backend.observe()
    assert {r.id for r in found.ready} == {r["id"] for r in before["e1-r1"]["replicas"]}
    assert found.limits is None, "not known until the set is applied again"
    await world.close()


async def test_one_that_does_not_listen_yet_is_not_given_up_by_the_next_control(home: Path) -> None:
    world = LocalWorld(home, timing=replace(FAST, failures=1, starting_failures=1_000_000))
    await world.open()
    await world.backend.apply(world.does("wait", UNTIL_THERE_IS=str(home / "go")))
    seen = await world.until(lambda seen: "waiting" in [each.detail for each in seen["e1-r1"].replicas])
    (before,) = seen["e1-r1"].replicas
    await world.restart(keep_replicas=True)
    (home / "go").touch()
    seen = await world.until(ready("e1-r1"))
    assert seen["e1-r1"].ready[0].id == before.id
    await world.close()


async def test_an_adopted_set_asks_to_be_applied_again_when_it_lost_a_replica(
    home: Path, driver: Callable[..., Driver]
) -> None:
    held(home, driver)
    world = await open_world(home)
    (found,) = await world.backend.observe()
    await world.crash(found.ready[0])
    seen = await world.until(lambda seen: len(seen["e1-r1"].replicas) == 1)
    assert seen["e1-r1"].n == 1, "without the environment it cannot keep two, and must say so"
    assert seen["e1-r1"].last_exit is not None
    await world.backend.apply(world.does("serve", n=2))
    seen = await world.until(ready("e1-r1", 2))
    assert found.ready[1].id in {r.id for r in seen["e1-r1"].replicas}
    assert seen["e1-r1"].n == 2
    await world.close()


async def test_what_ended_while_nobody_looked_is_known_afterwards(
    home: Path, driver: Callable[..., Driver]
) -> None:
    before = held(home, driver)
    address = before["e1-r1"]["replicas"][0]["address"].removeprefix("unix:")
    _, writer = await asyncio.open_unix_connection(address)
    pidfd = os.pidfd_open(keeper_of(home, before["e1-r1"]["replicas"][0]["id"]))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, ended.set)
    writer.write(b"GET /crash HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(WITHIN_S):
        await ended.wait()
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)
    writer.close()
    world = await open_world(home)
    (found,) = await world.backend.observe()
    assert len(found.ready) == found.n == 1
    assert found.last_exit is not None
    assert (found.last_exit.kind, found.last_exit.code) == (ExitKind.CRASHED, 3)
    await world.close()


async def test_what_a_power_cut_ended_is_not_held_against_the_revision(
    home: Path, driver: Callable[..., Driver]
) -> None:
    held(home, driver)
    # Keepers first: none is to write down how its replica ended.
    kill(keeper_of(home, replica_id) for replica_id in kept(home))
    pids = processes_of(home)
    kill(pids)
    for pid in pids:
        assert await gone(pid)  # a keeper that is still dying would be adopted
    world = await open_world(home)
    (found,) = await world.backend.observe()
    assert (found.replicas, found.failed_starts, found.last_exit) == ((), 0, None)
    await world.backend.apply(world.does("serve", n=2))
    await world.until(ready("e1-r1", 2))
    await world.close()


async def test_the_count_of_failed_starts_outlives_control(home: Path, driver: Callable[..., Driver]) -> None:
    control = driver(home, "hold", json.dumps([{"does": "crash", "name": "e1-r1", "n": 1}]))
    control.until(lambda seen: seen and seen["e1-r1"]["failed_starts"] >= 3)
    control.kill()
    world = await open_world(home)
    (found,) = await world.backend.observe()
    assert found.failed_starts >= 3
    assert found.last_exit is not None
    assert "something is wrong with me" in found.last_exit.message
    await world.close()


async def test_a_removal_that_was_cut_short_goes_on(home: Path, driver: Callable[..., Driver]) -> None:
    env = {"DRAINED_WHEN_THERE_IS": str(home / "drained")}
    held(home, driver, json.dumps([{"does": "serve", "name": "e1-r1", "n": 1, "env": env}]), 1)
    world = await open_world(home)
    await world.backend.remove("e1-r1", grace=WITHIN_S)
    await world.backend.stop(keep_replicas=True)  # as abrupt as a kill: nothing more is written or signalled
    world = await open_world(home)
    (found,) = await world.backend.observe()
    assert [r.phase for r in found.replicas] == [Phase.TERMINATING]
    assert found.n == 0
    (home / "drained").touch()
    await world.until(lambda seen: not seen)
    await world.close()


@pytest.mark.parametrize("seed", range(6))
async def test_killed_at_any_moment_nothing_is_left_unknown(
    home: Path, driver: Callable[..., Driver], seed: int
) -> None:
    chance = random.Random(seed)
    control = driver(home, "churn")
    wanted = chance.randrange(2, 30)
    for _ in range(wanted):
        control.until(lambda _: True)
    control.kill()
    world = await open_world(home)
    seen = await world.backend.observe()
    replicas = {replica.id for each in seen for replica in each.replicas}
    for pid in processes_of(home):
        assert replica_id_of(pid) in replicas or await gone(pid)
    for each in seen:
        await world.backend.apply(replica_set(each.id, 1))
    for each in seen:
        await world.until(ready(each.id))
    await world.close()
    assert_clean(home)


def replica_id_of(pid: int) -> str:
    """Empty when the process is gone."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return environ.partition("INLET_REPLICA_ID=")[2].partition("\0")[0]


async def gone(pid: int) -> bool:
    """Whether a process that was told to die does so."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(WITHIN_S):
            await ended.wait()
        return True
    except TimeoutError:
        return False
    finally:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)


async def test_another_process_under_the_same_number_is_left_alone(
    home: Path, driver: Callable[..., Driver]
) -> None:
    held(home, driver)
    replica_id, folder = next(iter(kept(home).items()))
    keeper_pid = keeper_of(home, replica_id)
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    record = KeeperRecord(stranger.pid, json.loads((folder / "keeper.json").read_text())["identity"])
    (folder / "keeper.json").write_text(json.dumps(asdict(record)))
    world = await open_world(home)
    (found,) = await world.backend.observe()
    assert replica_id not in {replica.id for replica in found.replicas}
    assert await gone(keeper_pid), "what runs but is not on record is ended"
    await world.close()
    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


def test_an_identity_is_that_of_one_process_only() -> None:
    mine = keeper.identity(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        assert keeper.identity(child.pid) != mine
    assert keeper.identity(child.pid) is None
    assert mine == keeper.identity(os.getpid())


async def test_records_that_cannot_be_read_are_cleared_away(
    home: Path, driver: Callable[..., Driver]
) -> None:
    held(home, driver)
    (home / "replicas" / "e1-r1" / "set.json").write_text("{")
    world = await open_world(home)
    assert await world.backend.observe() == ()
    for pid in processes_of(home):
        assert await gone(pid)
    await world.close()


async def test_two_controls_do_not_share_a_home(home: Path) -> None:
    world = await open_world(home)
    with pytest.raises(BackendUnavailable, match="Another Inlet already runs"):
        await LocalWorld(home).open()
    await world.close()


async def test_logs_go_on_across_a_restart_of_control(home: Path, driver: Callable[..., Driver]) -> None:
    held(home, driver, json.dumps([{"does": "serve", "name": "e1-r1", "n": 1}]), 1)
    world = await open_world(home)
    (found,) = await world.backend.observe()
    await get(found.ready[0], "/say/still-here")
    follower = world.backend.logs("e1", replica_id=None, tail=None, follow=True)
    async with asyncio.timeout(WITHIN_S):
        async for line in follower:
            if line.line == "still-here":
                break
    await follower.aclose()
    assert [line.line for line in await lines(world.backend, "e1", tail=1)] == ["still-here"]
    await world.close()


async def test_a_keeper_that_is_told_to_stop_by_somebody_else_drains(world: LocalWorld, home: Path) -> None:
    await world.backend.apply(world.does("serve", DRAIN_S="0.3"))
    (old,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    os.kill(keeper_of(home, old.id), signal.SIGTERM)
    seen = await world.until(lambda seen: ready("e1-r1")(seen) and seen["e1-r1"].replicas[0].id != old.id)
    assert (seen["e1-r1"].failed_starts, seen["e1-r1"].last_exit) == (0, None)
