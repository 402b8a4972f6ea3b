"""Instances are held to their vCPU and memory by what this machine has, and it is said how."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inlet.backends.local import cgroups, limits
from inlet.core.catalogue import CATALOGUE, Availability
from inlet.core.errors import Refused
from inlet.core.seen import ExitKind
from tests.backends.conftest import Driver, kept, processes_of
from tests.backends.worlds import SMALL, LocalWorld, ready, replica_set

TINY = replace(SMALL, vcpus=0.5, memory_gb=0.25)
HUGE = replace(SMALL, size="x999", vcpus=999, memory_gb=99_999)
READS = "+dac_read_search"  # nobody may read this interpreter wherever it lies, and still write nothing
AS_NOBODY = (
    "setpriv",
    "--reuid=nobody",
    "--regid=nogroup",
    "--clear-groups",
    f"--inh-caps={READS}",
    f"--ambient-caps={READS}",
)


def rung_here() -> str:
    return limits.find_rung("inlet-test-of-rungs").name


needs_groups = pytest.mark.skipif(
    rung_here() == "best effort",
    reason="no control group can be made here (root, or a delegated subtree, can)",
)


def eater(does: str, instance: object = TINY, **env: str):
    return replace(replica_set(env={"REPLICA_DOES": does, **env}), instance=instance)


async def exited(world: LocalWorld, applied: object):
    await world.backend.apply(applied)
    return (await world.until(lambda seen: seen["e1-r1"].last_exit is not None))["e1-r1"]


@needs_groups
async def test_out_of_memory_is_named(world: LocalWorld) -> None:
    seen = await exited(world, eater("eat", EAT_MB="400"))
    assert seen.last_exit.kind is ExitKind.OUT_OF_MEMORY
    assert seen.last_exit.message == "Memory limit exceeded (0.2 GB): choose a larger instance"
    assert seen.limits == f"enforced ({rung_here()}): 0.5 vCPU, 0.2 GB"


@needs_groups
async def test_within_its_memory_a_replica_serves(world: LocalWorld) -> None:
    await world.backend.apply(eater("eat", EAT_MB="100"))
    await world.until(ready("e1-r1"))


@needs_groups
async def test_out_of_memory_in_a_child_counts_for_the_replica(world: LocalWorld) -> None:
    seen = await exited(world, eater("eat-in-children", EAT_MB="200"))
    assert seen.last_exit.kind is ExitKind.OUT_OF_MEMORY


@needs_groups
async def test_cpu_is_held_to_the_quota_and_measured(world: LocalWorld) -> None:
    await world.backend.apply(eater("burn"))

    async def used() -> float:
        (seen,) = await world.backend.observe()
        return seen.replicas[0].cpu or 0.0

    readings: list[float] = []
    async with asyncio.timeout(20):
        while len(readings) < 2:
            # Usage is measured between observations that are a second apart: there is no event to wait for.
            await asyncio.sleep(0.3)
            reading = await used()
            if reading and reading not in readings:
                readings.append(reading)
    assert readings[-1] < 1.4, "one busy thread without a quota of half a vCPU would show 2.0"
    assert readings[-1] > 0.1


def groups_of(home: Path) -> list[Path]:
    records = (json.loads((folder / "replica.json").read_text()) for folder in kept(home).values())
    return [Path(group) for record in records for group in record["groups"]]


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


async def test_an_instance_larger_than_the_machine_gets_what_there_is(world: LocalWorld) -> None:
    await world.backend.apply(replace(replica_set(), instance=HUGE))
    seen = (await world.until(ready("e1-r1")))["e1-r1"]
    there = limits.machine()
    assert f"{there.vcpus:g} vCPU, {there.memory / 2**30:.1f} GB" in seen.limits
    assert seen.limits.endswith("which is all that this machine has of 999 vCPU, 99999.0 GB")


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


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home that an unprivileged user can use."""
    folder = Path(tempfile.mkdtemp(prefix="inlet-"))
    folder.chmod(0o777)
    yield folder
    assert processes_of(folder) == []
    shutil.rmtree(folder)


def why_not_as_nobody() -> str:
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        return "only root can become nobody (with setpriv)"
    nested = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', '']))"
    done = subprocess.run([*AS_NOBODY, sys.executable, "-c", nested], check=False, capture_output=True)
    return "" if done.returncode == 0 else "nobody cannot be given the right to run this interpreter"


nobody = pytest.mark.skipif(bool(why_not_as_nobody()), reason=why_not_as_nobody() or "-")


def as_nobody(driver: Callable[..., Driver], home: Path, does: str, memory_gb: float, **env: str) -> Driver:
    sets = [
        {"does": does, "name": "e1-r1", "n": 1, "env": env, "instance": {"vcpus": 1, "memory_gb": memory_gb}}
    ]
    return driver(home, "hold", json.dumps(sets), "stop", prefix=AS_NOBODY)


@nobody
def test_without_rights_limits_are_best_effort(open_home: Path, driver: Callable[..., Driver]) -> None:
    control = as_nobody(driver, open_home, "serve", 1.0)
    seen = control.until(
        lambda seen: "running" in [r["phase"] for r in seen.get("e1-r1", {}).get("replicas", [])]
    )
    assert seen["e1-r1"]["limits"] == "best effort: 1 vCPU, 1.0 GB"
    pid = int(json.loads(next(open_home.glob("replicas/*/*/keeper.json")).read_text())["pid"])
    (child,) = (
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit()
        and (folder / "stat").exists()
        and (folder / "stat").read_text().rpartition(")")[2].split()[1] == str(pid)
    )
    assert len(os.sched_getaffinity(child)) == 1
    data = next(
        row
        for row in Path(f"/proc/{child}/limits").read_text().splitlines()
        if row.startswith("Max data size")
    )
    assert data.split()[3:5] == [str(2**30)] * 2
    control.finish()


@nobody
@pytest.mark.parametrize(("does", "megabytes"), [("eat", 700), ("eat-in-children", 120)])
def test_without_rights_out_of_memory_is_named_too(
    open_home: Path, driver: Callable[..., Driver], does: str, megabytes: int
) -> None:
    """One process is refused the memory by the kernel; several together are found by the keeper."""
    control = as_nobody(driver, open_home, does, 0.25, EAT_MB=str(megabytes))
    seen = control.until(lambda seen: seen and seen["e1-r1"]["last_exit"])
    assert seen["e1-r1"]["last_exit"]["kind"] == "out of memory"
    assert seen["e1-r1"]["last_exit"]["message"] == "Memory limit exceeded (0.2 GB): choose a larger instance"
    control.finish()


def test_neighbours_get_different_cpus() -> None:
    usable = os.sched_getaffinity(0)
    if len(usable) < 2:
        pytest.skip("one CPU only")
    rung = limits.BestEffort()
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
