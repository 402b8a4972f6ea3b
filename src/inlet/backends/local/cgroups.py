"""Control groups, version 1 and 2: finding them, and one group per replica with a memory and a CPU limit.

Used by `limits.py`, which tries what works. Our groups lie in one subtree of the group that we run in ourselves (or of
the nearest ancestor that lets us), so that whatever limits us also limits them. Groups are plain folders of a special
file system; a group can be removed once no process is in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PERIOD_US = 100_000
_REMOVAL_ROUNDS = 100
_REMOVAL_PAUSE_S = 0.05
_V1_UNLIMITED = 2**60  # version 1 says "no limit" with a number near 2**63


@dataclass(frozen=True, slots=True)
class Place:
    """A controller's mount point and the folder of the group that this process is in."""

    mount: Path
    own: Path

    def upwards(self) -> Iterator[Path]:
        """Our own group, its parent and so on, up to the mount point."""
        path = self.own
        yield path
        while path != self.mount and self.mount in path.parents:
            path = path.parent
            yield path


@dataclass(frozen=True, slots=True)
class Groups:
    """One replica's groups. `events` holds the `oom_kill` counter."""

    folders: tuple[Path, ...]
    events: Path


def places() -> dict[str, Place]:
    """By controller of version 1 ("memory", "cpu", …), and "" for the unified hierarchy of version 2."""
    own: dict[str, str] = {}
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    found: dict[str, Place] = {}
    for line in _lines("/proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        root, mount = left.split()[3:5]
        kind, _, options = right.split()[:3]
        names = [""] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        for name in names:
            if name in own and name not in found:
                found[name] = _place(Path(mount), root, own[name])
    return found


def _place(mount: Path, root: str, path: str) -> Place:
    """Inside a container the path may be told as the host sees it; then the mount point is our own group."""
    folder = mount / path.removeprefix(root).lstrip("/") if path.startswith(root) else mount
    return Place(mount, folder if folder.is_dir() else mount)


class Version2:
    """One group with both limits."""

    name = "cgroup v2"

    def __init__(self, subtree: Path) -> None:
        self.subtrees = (subtree,)

    @classmethod
    def candidates(cls, name: str) -> Iterator[Version2]:
        """Subtrees `name` of our own group and its ancestors, nearest first; which one works is left to the trial."""
        place = places().get("")
        for parent in place.upwards() if place is not None else ():
            if {"cpu", "memory"} <= set(_words(parent / "cgroup.controllers")):
                yield cls(parent / name)

    def open(self) -> None:
        """Make the subtree and hand both controllers down to it; OSError if that is not allowed here."""
        subtree = self.subtrees[0]
        subtree.mkdir(exist_ok=True)
        for folder in (subtree.parent, subtree):
            if not {"cpu", "memory"} <= set(_words(folder / "cgroup.subtree_control")):
                _write(folder / "cgroup.subtree_control", "+cpu +memory")

    def create(self, replica_id: str, vcpus: float, memory: int) -> Groups:
        """The group of one replica; `memory` in bytes. OSError if it cannot be made."""
        group = self.subtrees[0] / replica_id
        group.mkdir(exist_ok=True)
        _write(group / "memory.max", str(memory))
        if (group / "memory.swap.max").exists():
            _write(group / "memory.swap.max", "0")
        _write(group / "cpu.max", f"{int(vcpus * _PERIOD_US)} {_PERIOD_US}")
        return Groups((group,), group / "memory.events")


class Version1:
    """One group per controller; where both controllers share a hierarchy the two are one folder."""

    name = "cgroup v1"

    def __init__(self, memory: Path, cpu: Path) -> None:
        self._memory = memory
        self._cpu = cpu
        self.subtrees = tuple(dict.fromkeys((memory, cpu)))

    @classmethod
    def candidates(cls, name: str) -> Iterator[Version1]:
        """Subtrees `name` of our own groups, then of the hierarchies' roots."""
        found = places()
        if "memory" in found and "cpu" in found:
            memory, cpu = found["memory"], found["cpu"]
            yield cls(memory.own / name, cpu.own / name)
            yield cls(memory.mount / name, cpu.mount / name)

    def open(self) -> None:
        """Make the subtrees; OSError if that is not allowed here."""
        for subtree in self.subtrees:
            subtree.mkdir(exist_ok=True)

    def create(self, replica_id: str, vcpus: float, memory: int) -> Groups:
        """The groups of one replica; `memory` in bytes. OSError if they cannot be made."""
        memory_group, cpu_group = self._memory / replica_id, self._cpu / replica_id
        for group in (memory_group, cpu_group):
            group.mkdir(exist_ok=True)
        _write(memory_group / "memory.limit_in_bytes", str(memory))
        if (memory_group / "memory.memsw.limit_in_bytes").exists():
            _write(memory_group / "memory.memsw.limit_in_bytes", str(memory))
        _write(cpu_group / "cpu.cfs_period_us", str(_PERIOD_US))
        _write(cpu_group / "cpu.cfs_quota_us", str(int(vcpus * _PERIOD_US)))
        return Groups(tuple(dict.fromkeys((memory_group, cpu_group))), memory_group / "memory.oom_control")


def remove(group: Path) -> bool:
    """Kill what is left in the group and remove it; False while something in it has not ended yet."""
    try:
        members = [int(line) for line in _lines(group / "cgroup.procs")]
    except FileNotFoundError:
        return True
    for pid in members:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


async def remove_all(groups: Iterable[Path]) -> None:
    """Remove all of them, with patience: a killed process takes a moment, and an empty group tells nobody."""
    left = list(groups)
    for _ in range(_REMOVAL_ROUNDS):
        left = [group for group in left if not remove(group)]
        if not left:
            return
        await asyncio.sleep(_REMOVAL_PAUSE_S)


def ceilings(found: Mapping[str, Place]) -> tuple[float, float]:
    """(vCPU, bytes) that the groups which we run in ourselves allow; infinite where nothing limits us."""
    vcpus = memory = float("inf")
    if "" in found:
        for folder in found[""].upwards():
            memory = min(memory, _number(folder / "memory.max"))
            quota, _, period = _text(folder / "cpu.max").partition(" ")
            if quota.isdigit() and period.isdigit():
                vcpus = min(vcpus, int(quota) / int(period))
    if "memory" in found:
        for folder in found["memory"].upwards():
            limit = _number(folder / "memory.limit_in_bytes")
            memory = min(memory, limit if limit < _V1_UNLIMITED else float("inf"))
    if "cpu" in found:
        for folder in found["cpu"].upwards():
            quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
            if quota_us < float("inf") and period_us < float("inf"):
                vcpus = min(vcpus, quota_us / period_us)
    return vcpus, memory


def _number(path: Path) -> float:
    text = _text(path)
    return float(text) if text.isdigit() else float("inf")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _lines(path: str | Path) -> list[str]:
    return Path(path).read_text().splitlines()


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _write(path: Path, value: str) -> None:
    # Not write_text: truncating and buffering mean nothing to these files, and the error must come from this call.
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
