"""Instances are held to their vCPU and memory by what this machine has, and it is said how."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from inlet.backends.local import cgroups, keeper, limits
from inlet.core.catalogue import CATALOGUE, Availability
from inlet.core.errors import Refused
from inlet.core.seen import ExitKind
from tests.backends.conftest import Driver, assert_clean, keeper_of, kept, kill, processes_of
from tests.backends.unprivileged import as_nobody, nobody
from tests.backends.worlds import SMALL, WITHIN_S, LocalWorld, eventually, get, ready, replica_set

TINY = replace(SMALL, vcpus=0.5, memory_gb=1 / 16)
HUGE = replace(SMALL, size="x999", vcpus=999, memory_gb=99_999)
RUNG = limits.find_rung(f"inlet-test-of-rungs-{os.getpid()}")  # several test processes try at once
RUNG.close()

needs_groups = pytest.mark.skipif(
    not (RUNG.cpu.enforced and RUNG.memory.enforced),
    reason="no control group can be made here (root, or a delegated subtree, can)",
)
TOO_MUCH = "Out of memory: more than the limit of 64 MB; choose a larger instance"


def eater(does: str, instance: object = TINY, **env: str):
    return replace(replica_set(env={"REPLICA_DOES": does, **env}), instance=instance)


async def exited(world: LocalWorld, applied: object):
    await world.backend.apply(applied)
    return (await world.until(lambda seen: seen["e1-r1"].last_exit is not None))["e1-r1"]


def groups_of(home: Path) -> list[Path]:
    records = (json.loads((folder / "replica.json").read_text()) for folder in kept(home).values())
    return [Path(group) for record in records for group in record["groups"]]


def burn_rate(keeper_pid: int, cpu_seconds: float) -> float:
    """CPUs that a keeper's replica uses, measured until it has used so much."""
    tick = os.sysconf("SC_CLK_TCK")

    def used() -> float:
        table = keeper.processes()
        return sum(table[pid].ticks for pid in keeper.descendants(keeper_pid, table)) / tick

    eventually(lambda: used() > 0.2)
    since = time.monotonic()  # first: what is used between the two must not count as used in no time
    before = used()
    eventually(lambda: used() - before >= cpu_seconds)
    return (used() - before) / (time.monotonic() - since)


# Where groups can be made


@needs_groups
@pytest.mark.parametrize(("does", "megabytes"), [("eat", 100), ("eat-in-children", 30), ("shrug", 100)])
async def test_out_of_memory_ends_the_whole_replica_and_is_named(
    world: LocalWorld, does: str, megabytes: int
) -> None:
    """Also when several processes share the blame, and when the replica would go on without the one that was killed."""
    seen = await exited(world, eater(does, EAT_MB=str(megabytes)))
    assert seen.last_exit.kind is ExitKind.OUT_OF_MEMORY
    assert seen.last_exit.message == TOO_MUCH
    assert seen.limits.words == f"enforced: 0.5 vCPU, 64 MB ({RUNG.memory.by})"


@needs_groups
async def test_only_the_replica_that_takes_too_much_ends(world: LocalWorld, home: Path) -> None:
    await world.backend.apply(replica_set("e2-r1"))
    bystander = (await world.until(ready("e2-r1")))["e2-r1"].ready[0].id
    await exited(world, eater("eat", EAT_MB="100"))
    seen = (await world.until(ready("e2-r1")))["e2-r1"]
    assert (seen.ready[0].id, seen.last_exit) == (bystander, None)


@pytest.fixture
def above() -> Iterator[limits.Rung]:
    """Groups below one that has too little memory for all of them."""
    if isinstance(RUNG._groups, cgroups.Version2):
        top = RUNG._groups._subtree.parent / f"inlet-test-above-{os.getpid()}"
        top.mkdir()
        (top / "memory.max").write_text(str(100 * 2**20))
        groups = cgroups.Version2(top, "ours", move=False)
    else:
        top = RUNG._groups._subtree["memory"].parent / f"inlet-test-above-{os.getpid()}"
        top.mkdir()
        (top / "memory.limit_in_bytes").write_text(str(100 * 2**20))
        groups = cgroups.Version1({"memory": top}, "ours")
    yield limits.Rung(groups)
    eventually(lambda: cgroups.remove(top))


@needs_groups
async def test_memory_that_ran_out_above_the_replicas_ends_only_the_one_that_was_killed_for_it(
    above: limits.Rung, world: LocalWorld
) -> None:
    site = world.backend._site
    world.backend._site = replace(site, rung=above)
    await world.backend.apply(replica_set("e2-r1"))
    (bystander,) = (await world.until(ready("e2-r1")))["e2-r1"].ready
    seen = await exited(world, eater("eat", SMALL, EAT_MB="200"))
    assert seen.last_exit.kind is ExitKind.OUT_OF_MEMORY
    await world.backend.remove("e1-r1", grace=0)
    await get(bystander, "/say/looked-at-the-alarm")
    async for line in world.backend.logs("e2", replica_id=bystander.id, tail=None, follow=True):
        if line.line == "looked-at-the-alarm":
            break
    assert await get(bystander, "/health") == "Ok"
    world.backend._site = site


@needs_groups
async def test_within_its_memory_a_replica_serves(world: LocalWorld) -> None:
    await world.backend.apply(eater("eat", EAT_MB="25"))
    await world.until(ready("e1-r1"))


@needs_groups
async def test_cpu_is_held_to_the_quota_and_measured(world: LocalWorld, home: Path) -> None:
    await world.backend.apply(eater("burn-in-children"))
    await world.until(ready("e1-r1"))
    (replica_id,) = kept(home)
    await world.backend.observe()
    rate = await asyncio.to_thread(burn_rate, keeper_of(home, replica_id), 0.7)
    assert rate < 0.7, "three busy processes with half a vCPU together"
    cpu = None  # a single measurement is wrong when the machine stands still in the middle of it
    async with asyncio.timeout(WITHIN_S):
        while cpu is None or not 0.1 < cpu < 1.4:  # 1.0 is all of its half
            await asyncio.sleep(0.1)
            (seen,) = await world.backend.observe()
            cpu = seen.replicas[0].cpu


@needs_groups
async def test_processes_are_bounded_and_none_is_left(
    world: LocalWorld, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "MOST_PROCESSES", 40)
    await world.backend.apply(eater("multiply"))
    await world.until(ready("e1-r1"))
    async for each in world.backend.logs("e1", replica_id=None, tail=None, follow=True):
        if each.line.startswith("no more than"):  # written down after it answers, perhaps
            assert int(each.line.rpartition(" ")[2]) == 39
            break
    else:
        pytest.fail("it ended without a word of how many processes it had made")
    groups = groups_of(home)
    await world.backend.remove("e1-r1", grace=0)
    await world.until(lambda seen: not seen)
    await asyncio.to_thread(eventually, lambda: processes_of(home) == [])
    await world.restart(keep_replicas=True)  # waits for all that is still being cleared away
    assert not any(group.exists() for group in groups)


@needs_groups
async def test_groups_go_with_their_replicas(home: Path) -> None:
    world = LocalWorld(home)
    await world.open()
    await world.backend.apply(replica_set(n=2))
    await world.until(ready("e1-r1", 2))
    groups = groups_of(home)
    assert groups
    assert all(group.is_dir() for group in groups)
    await world.close()
    assert not any(group.exists() or group.parent.exists() for group in groups)


@needs_groups
async def test_a_group_that_a_replica_made_itself_goes_too(home: Path) -> None:
    world = LocalWorld(home)
    await world.open()
    await world.backend.apply(replica_set(env={"REPLICA_DOES": "nest"}))
    await world.until(ready("e1-r1"))
    groups = groups_of(home)
    assert any((group / "inner").is_dir() for group in groups)
    await world.close()
    assert not any(group.exists() for group in groups)


@needs_groups
async def test_groups_that_nobody_knows_any_more_are_removed_at_start(
    home: Path, driver: Callable[..., Driver]
) -> None:
    """Keeper and control killed, records lost."""
    control = driver(home, "hold", json.dumps([{"does": "stubborn", "name": "e1-r1", "n": 1}]))
    control.until(lambda seen: "running" in [r["phase"] for r in seen.get("e1-r1", {}).get("replicas", [])])
    (replica_id,) = kept(home)
    groups = groups_of(home)
    control.kill()
    os.kill(keeper_of(home, replica_id), signal.SIGKILL)
    shutil.rmtree(home / "replicas" / "e1-r1")
    world = LocalWorld(home)
    await world.open()
    await world.close()
    assert not any(group.exists() for group in groups)
    assert_clean(home)


def test_groups_of_an_earlier_start_elsewhere_are_strays(tmp_path: Path) -> None:
    """Nothing of a subtree is removed that a known replica is in."""
    for group in (
        "current/known",
        "current/unknown",
        "elsewhere/known",
        "elsewhere/unknown",
        "unused/unknown",
    ):
        (tmp_path / group).mkdir(parents=True)
    current = cgroups.Version1({"memory": tmp_path}, "current")
    rung = limits.Rung(current, [tmp_path / name for name in ("current", "elsewhere", "unused", "absent")])
    known = {str(tmp_path / name / "known") for name in ("current", "elsewhere")}
    found = {str(path.relative_to(tmp_path)) for path in rung.strays(known)}
    assert found == {"current/unknown", "elsewhere/unknown", "unused/unknown", "unused"}


@needs_groups
def test_a_replica_that_ends_while_no_control_runs_leaves_no_group(
    home: Path, driver: Callable[..., Driver]
) -> None:
    control = driver(home, "hold", json.dumps([{"does": "serve", "name": "e1-r1", "n": 1}]))
    control.until(lambda seen: "running" in [r["phase"] for r in seen.get("e1-r1", {}).get("replicas", [])])
    groups = groups_of(home)
    assert all(group.is_dir() for group in groups)
    control.kill()
    os.kill(keeper_in(home), signal.SIGTERM)
    eventually(lambda: processes_of(home) == [])
    assert not any(group.exists() for group in groups)


@needs_groups
async def test_a_killed_keeper_leaves_no_group(world: LocalWorld, home: Path) -> None:
    await world.backend.apply(replica_set())
    await world.until(ready("e1-r1"))
    (replica_id,) = kept(home)
    groups = groups_of(home)
    os.kill(keeper_of(home, replica_id), signal.SIGKILL)
    await world.until(lambda seen: seen["e1-r1"].last_exit is not None and len(seen["e1-r1"].ready) == 1)
    await world.restart(keep_replicas=True)  # waits for all that is still being cleared away
    assert not any(group.exists() for group in groups)


@needs_groups
async def test_a_subtree_that_somebody_removed_is_made_again(world: LocalWorld, home: Path) -> None:
    await world.backend.apply(replica_set())
    await world.until(ready("e1-r1"))
    groups = groups_of(home)
    await world.backend.remove("e1-r1", grace=0)
    await world.until(lambda seen: not seen)
    eventually(lambda: not any(cgroups.remove(group.parent) is False for group in groups))
    await world.backend.apply(eater("eat", EAT_MB="100"))
    seen = (await world.until(lambda seen: seen["e1-r1"].last_exit is not None))["e1-r1"]
    assert seen.last_exit.kind is ExitKind.OUT_OF_MEMORY


async def test_limits_that_cannot_be_set_any_more_are_an_error_in_words(
    world: LocalWorld, home: Path
) -> None:
    gone = home / "gone"  # stands for a hierarchy that was unmounted
    site = world.backend._site
    world.backend._site = replace(
        site, rung=limits.Rung(cgroups.Version1({"memory": gone, "cpu": gone}, "ours"))
    )
    seen = await exited(world, replica_set())
    world.backend._site = site
    assert seen.last_exit.kind is ExitKind.NOT_STARTED
    assert (
        seen.last_exit.message
        == f"The replica could not be started: {gone / 'ours'}: No such file or directory"
    )
    assert seen.failed_starts == 0, "no fault of the revision"


# What can be had


async def test_an_instance_larger_than_the_machine_gets_what_there_is(world: LocalWorld) -> None:
    await world.backend.apply(replace(replica_set(), instance=HUGE))
    seen = (await world.until(ready("e1-r1")))["e1-r1"]
    there = limits.machine()
    assert (seen.limits.vcpus, seen.limits.memory, seen.limits.whole) == (there.vcpus, there.memory, False)
    assert seen.limits.words.endswith(
        "The instance has 999 vCPU, 99999 GB, which is more than this machine has"
    )


async def test_strict_instances_refuse_what_is_larger_than_the_machine(home: Path) -> None:
    world = LocalWorld(home, strict_instances=True)
    await world.open()
    with pytest.raises(Refused, match=r"compute\.instanceSize: .* larger than this machine"):
        await world.backend.apply(replace(replica_set(), instance=HUGE))
    assert await world.backend.observe() == ()
    await world.backend.apply(replica_set())
    await world.until(ready("e1-r1"))
    rows = {row.id: row.status for row in await world.backend.catalogue()}
    assert rows[SMALL.id] is Availability.AVAILABLE
    assert any(
        rows[row.id] is Availability.NOT_AVAILABLE
        for row in CATALOGUE
        if row.accelerator == "cpu" and not limits.fits(row, limits.machine())
    )
    await world.close()


async def test_accelerators_are_listed_as_not_available_and_refused(world: LocalWorld) -> None:
    rows = await world.backend.catalogue()
    assert {row.status for row in rows if row.accelerator != "cpu"} == {Availability.NOT_AVAILABLE}
    t4 = next(row for row in CATALOGUE if row.type == "nvidia-t4")
    with pytest.raises(Refused, match=r"compute\.accelerator: there is no Nvidia Tesla T4"):
        await world.backend.apply(replace(replica_set(), instance=t4))


# As a user without rights


def keeper_in(home: Path) -> int:
    (replica_id,) = kept(home)
    return keeper_of(home, replica_id)


@nobody
def test_without_rights_limits_are_best_effort(open_home: Path, driver: Callable[..., Driver]) -> None:
    control = as_nobody(driver, open_home, "serve", 1.0)
    seen = control.until(
        lambda seen: "running" in [r["phase"] for r in seen.get("e1-r1", {}).get("replicas", [])]
    )
    held = seen["e1-r1"]["limits"]
    assert (held["vcpus"], held["memory"]) == (1, 2**30)
    assert (held["cpu_hold"], held["memory_hold"]) == (asdict(limits.PINNED), asdict(limits.WATCHED))
    (child,) = keeper.descendants(keeper_in(open_home), keeper.processes())
    assert len(os.sched_getaffinity(child)) == 1
    data = next(
        row
        for row in Path(f"/proc/{child}/limits").read_text().splitlines()
        if row.startswith("Max data size")
    )
    assert data.split()[3:5] == [str(2**30)] * 2
    control.finish()


@nobody
@pytest.mark.parametrize(("does", "megabytes"), [("eat", 150), ("eat-in-children", 30), ("share", 100)])
def test_without_rights_out_of_memory_is_named_too(
    open_home: Path, driver: Callable[..., Driver], does: str, megabytes: int
) -> None:
    """One process is refused the memory by the kernel; several together, and shared memory, are found by the keeper."""
    control = as_nobody(driver, open_home, does, 1 / 16, EAT_MB=str(megabytes))
    seen = control.until(lambda seen: seen and seen["e1-r1"]["last_exit"])
    assert seen["e1-r1"]["last_exit"]["kind"] == "out of memory"
    assert seen["e1-r1"]["last_exit"]["message"] == TOO_MUCH
    control.finish()


@nobody
def test_without_rights_a_replica_stays_on_as_many_cpus_as_it_has_vcpus(
    open_home: Path, driver: Callable[..., Driver]
) -> None:
    control = as_nobody(driver, open_home, "burn-in-children", 1.0)
    control.until(lambda seen: "running" in [r["phase"] for r in seen.get("e1-r1", {}).get("replicas", [])])
    assert burn_rate(keeper_in(open_home), 1.0) < 1.2, "three busy processes with one vCPU together"
    control.finish()


def test_memory_that_processes_share_counts_once() -> None:
    """A model that was loaded before the workers were forked."""
    program = (
        "import os, sys, time\n"
        "model = bytearray(b'x') * (100 << 20)\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        print('.', end='', flush=True)\n"
        "        time.sleep(600)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.read(3) == b"..."
        workers = keeper.family(parent.pid)
        tree = {parent.pid, *workers}
        try:
            assert len(workers) == 3
            assert workers == keeper.descendants(parent.pid, keeper.processes())
            each = 100 * 2**20
            assert keeper.held(tree, limit=2**40) > 4 * each, "the cheap sum, far below the limit"
            assert each < keeper.held(tree, limit=2 * each) < 2 * each, (
                "the true one, once the sum is over it"
            )
        finally:
            kill(tree)


def test_neighbours_get_different_cpus() -> None:
    usable = os.sched_getaffinity(0)
    if len(usable) < 2:
        pytest.skip("one CPU only")
    rung = limits.Rung(None)
    one, two = (rung.confine(name, limits.Allotment(1, 2**30)) for name in "ab")
    assert len(one.cpus) == len(two.cpus) == 1
    assert one.cpus != two.cpus
    assert rung.confine("c", limits.Allotment(len(usable), 2**30)).cpus == ()


def test_places_are_found_in_the_kernels_own_words() -> None:
    for place in cgroups.places().values():
        assert place.own.is_dir()
        assert list(place.upwards())[-1] == place.mount


def test_the_machine_is_no_larger_than_the_machine() -> None:
    there = limits.machine()
    assert 0 < there.vcpus <= len(os.sched_getaffinity(0))
    assert 0 < there.memory <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@needs_groups
def test_groups_that_were_made_in_part_are_removed_again() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        RUNG.confine("half-made", limits.Allotment(vcpus=1, memory=-5))
    left = [subtree / "half-made" for subtree in RUNG._groups.subtrees if (subtree / "half-made").exists()]
    RUNG.close()
    assert left == []
