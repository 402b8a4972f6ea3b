"""Groups of version 2 as service managers, desktops and containers hand them out: what is taken, what is left alone.

Each test lays out groups as such a manager does, and starts a process of ours in them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inlet.backends.local import cgroups, limits
from tests.backends.conftest import Driver, assert_clean
from tests.backends.unprivileged import AS_NOBODY, as_nobody, nobody
from tests.backends.worlds import LocalWorld, ready, replica_set

ROOT = Path("/sys/fs/cgroup")
ALL = {"memory", "cpu", "pids"}
BEST_EFFORT = [str(limits.PINNED), str(limits.WATCHED)]
ENFORCED = [str(limits.Rung(cgroups.Version2(ROOT, "x", move=False)).cpu)] * 2
PROBE = """
import json
from inlet.backends.local import limits
rung = limits.find_rung("inlet-probe")
print(json.dumps([str(rung.cpu), str(rung.memory), open("/proc/self/cgroup").read().strip()]))
rung.close()
"""


def why_not() -> str:
    controllers = ROOT / "cgroup.controllers"
    if os.getuid() != 0 or not controllers.exists() or not set(controllers.read_text().split()) >= ALL:
        return "needs root, and a machine with control groups of version 2 (tests/e2e/test_cgroup_v2.py boots one)"
    if cgroups.places()[""].own != ROOT:
        return "the groups of this machine belong to a service manager"
    return ""


if why_not():
    pytest.skip(why_not(), allow_module_level=True)


class Manager:
    """Makes groups below one of its own, as root."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def make(self, path: str, *, hands_down: set[str] = ALL, owner: str = "root", mark: bool = False) -> Path:
        """A group whose parents have handed down these controllers."""
        group = self.top / path
        for parent in (
            ROOT,
            *(folder for folder in reversed(group.parents) if self.top in (folder, *folder.parents)),
        ):
            parent.mkdir(exist_ok=True)
            (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in hands_down))
        group.mkdir()
        if owner != "root":
            for file in (
                group,
                *(group / f"cgroup.{name}" for name in ("procs", "threads", "subtree_control")),
            ):
                subprocess.run(["chown", owner, str(file)], check=True)
        if mark:
            os.setxattr(group, "user.delegate", b"1")
        return group


@pytest.fixture
def manager() -> Iterator[Manager]:
    made = Manager(ROOT / "manager.slice")
    yield made
    assert cgroups.remove(made.top), "what ran in these groups has ended"


def inside(group: Path, *prefix: str) -> tuple[str, ...]:
    """A command's beginning that runs the rest in this group."""
    return ("sh", "-c", f'echo 0 >{group}/cgroup.procs && exec "$@"', "sh", *prefix)


def probe(*prefix: str) -> tuple[list[str], str]:
    """What a process started like this finds: how CPU and memory are held, and the group it is in afterwards."""
    done = subprocess.run([*prefix, sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *holds, group = json.loads(done.stdout)
    return holds, group.removeprefix("0::")


def text(group: Path, file: str) -> str:
    return (group / file).read_text().strip()


@nobody
def test_a_delegated_service_moves_itself_below_its_top(manager: Manager) -> None:
    unit = manager.make("inlet.service", owner="nobody", mark=True)
    assert probe(*inside(unit, *AS_NOBODY)) == (ENFORCED, "/manager.slice/inlet.service/inlet-probe-main")
    assert set(text(unit, "cgroup.subtree_control").split()) == ALL
    assert probe(*inside(unit / "inlet-probe-main", *AS_NOBODY))[0] == ENFORCED, (
        "so does one that is started again"
    )


@nobody
def test_a_service_that_was_started_below_its_top_stays_there(manager: Manager) -> None:
    unit = manager.make("inlet.service", owner="nobody", mark=True)
    main = unit / "main"
    main.mkdir()
    for file in (main, main / "cgroup.procs"):
        subprocess.run(["chown", "nobody", str(file)], check=True)
    assert probe(*inside(main, *AS_NOBODY)) == (ENFORCED, "/manager.slice/inlet.service/main")
    assert {folder.name for folder in unit.iterdir() if folder.is_dir()} == {"main"}


@nobody
def test_a_service_that_was_handed_nothing_does_its_best(manager: Manager) -> None:
    unit = manager.make("inlet.service")
    assert probe(*inside(unit, *AS_NOBODY)) == (BEST_EFFORT, "/manager.slice/inlet.service")


@nobody
@pytest.mark.parametrize("controller", ["memory", "cpu"])
def test_only_some_controllers_are_handed_down(manager: Manager, controller: str) -> None:
    unit = manager.make("inlet.service", hands_down={controller}, owner="nobody", mark=True)
    (cpu, memory), _ = probe(*inside(unit, *AS_NOBODY))
    assert cpu == (ENFORCED if controller == "cpu" else BEST_EFFORT)[0]
    assert memory == (ENFORCED if controller == "memory" else BEST_EFFORT)[1]


@nobody
def test_a_desktop_user_gets_a_group_beside_the_terminals(manager: Manager) -> None:
    """Slice and scopes are the user's; the shell in the scope stays where it is."""
    slice_ = manager.make("app.slice", owner="nobody")
    scope = manager.make("app.slice/terminal.scope", owner="nobody")
    assert probe(*inside(scope, *AS_NOBODY)) == (ENFORCED, "/manager.slice/app.slice/terminal.scope")
    assert {folder.name for folder in slice_.iterdir() if folder.is_dir()} == {"terminal.scope"}


def test_root_leaves_a_service_that_is_not_its_own_as_it_is(manager: Manager) -> None:
    unit = manager.make("other.service")
    assert probe(*inside(unit)) == (ENFORCED, "/manager.slice/other.service")
    assert (text(unit, "cgroup.type"), text(unit, "cgroup.subtree_control")) == ("domain", "")


def in_a_container(group: Path, options: str) -> tuple[str, ...]:
    mount = f'umount {ROOT} && mount -t cgroup2 none {ROOT} && mount -o remount,bind,{options} {ROOT} && exec "$@"'
    return inside(group, "unshare", "--cgroup", "--mount", "sh", "-c", mount, "sh")


def test_a_container_with_its_own_groups_uses_them(manager: Manager) -> None:
    group = manager.make("container")
    assert probe(*in_a_container(group, "rw")) == (ENFORCED, "/inlet-probe-main")


def test_a_container_whose_groups_are_read_only_does_its_best(manager: Manager) -> None:
    group = manager.make("container")
    assert probe(*in_a_container(group, "ro")) == (BEST_EFFORT, "/")


def test_the_share_of_a_container_is_the_machine(manager: Manager) -> None:
    group = manager.make("container")
    (group / "memory.max").write_text(str(300 * 2**20))
    (group / "cpu.max").write_text("50000 100000")
    show = "from inlet.backends.local import limits; print(limits.machine())"
    command = [*in_a_container(group, "ro"), sys.executable, "-c", show]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(limits.Allotment(0.5, 300 * 2**20))


@nobody
def test_a_replica_of_a_delegated_service(
    manager: Manager, open_home: Path, driver: Callable[..., Driver]
) -> None:
    """From the user's start to the named end, and by the next control of the same service again."""
    unit = manager.make("inlet.service", owner="nobody", mark=True)
    for start in (unit, "the group that the first one moved to"):
        group = start if start is unit else next(folder for folder in unit.iterdir() if folder.is_dir())
        control = as_nobody(driver, open_home, "eat", 1 / 16, *inside(group), EAT_MB="100")
        seen = control.until(lambda seen: seen and seen["e1-r1"]["last_exit"])
        assert seen["e1-r1"]["last_exit"]["kind"] == "out of memory"
        assert seen["e1-r1"]["limits"]["memory_hold"] == {"enforced": True, "by": "cgroup v2"}
        control.finish()
        assert_clean(open_home)


async def test_a_group_that_cannot_be_made_is_an_error_in_words_and_passes(world: LocalWorld) -> None:
    (subtree,) = world.backend._site.rung._groups.subtrees
    (subtree / "cgroup.max.descendants").write_text("0")
    await world.backend.apply(replica_set())
    seen = (await world.until(lambda seen: seen["e1-r1"].last_exit is not None))["e1-r1"]
    assert seen.last_exit.message.startswith(f"The replica could not be started: {subtree}/e1-r1-")
    assert seen.last_exit.message.endswith(": Resource temporarily unavailable")
    (subtree / "cgroup.max.descendants").write_text("max")
    await world.until(ready("e1-r1"))


async def test_controllers_that_somebody_took_away_are_handed_down_again(world: LocalWorld) -> None:
    (subtree,) = world.backend._site.rung._groups.subtrees
    (subtree / "cgroup.subtree_control").write_text("-memory -cpu -pids")
    await world.backend.apply(replica_set())
    await world.until(ready("e1-r1"))
    (group,) = (folder for folder in subtree.iterdir() if folder.is_dir())
    assert text(group, "cpu.max") == "100000 100000"
    assert text(group, "memory.max") == str(2 * 2**30)
    assert text(group, "memory.oom.group") == "1"
    assert text(group, "pids.max") == str(cgroups.MOST_PROCESSES)
