"""Control groups, version 1 and 2: finding them, and one group per replica with limits on memory, CPU and processes.

Used by `limits.py`, which tries what works. Our groups lie in one subtree of the group that we run in ourselves (or of
the nearest ancestor that lets us), so that whatever limits us also limits them. Groups are plain folders of a special
file system; a group can be removed once no process is in it. Must never touch a group that is not ours, with one
exception that `Version2` explains.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MOST_PROCESSES = (
    4096  # and threads, of one replica: far more than any model needs, and too few to fill a machine
)
WANTED = ("memory", "cpu", "pids")
_PERIOD_US = 100_000
_REMOVAL_ROUNDS = 100
_REMOVAL_PAUSE_S = 0.05
_MOVING_ROUNDS = 20
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
    """One replica's groups. `events` holds the `oom_kill` counter; None where memory is not limited."""

    folders: tuple[Path, ...]
    events: Path | None


def places() -> dict[str, Place]:
    """By controller of version 1 ("memory", "cpu", …), and "" for the unified hierarchy of version 2."""
    own: dict[str, str] = {}
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    found: dict[str, Place] = {}
    for line in _lines(Path("/proc/self/mountinfo")):
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
    """One group with all limits.

    Only a group without processes of its own can hand controllers down. A service with `Delegate=` and a container are
    given a whole subtree, but start at its top; there we move what runs at the top (ourselves, that is) into a group
    beside our subtree, as systemd's rules for delegated groups ask of us. Nothing is moved anywhere else.
    """

    name = "cgroup v2"

    def __init__(self, parent: Path, name: str, *, move: bool) -> None:
        self.controllers = frozenset(WANTED) & set(_words(parent / "cgroup.controllers"))
        self._subtree = parent / name
        self._shelter = parent / f"{name}-main" if move else None
        self.subtrees = (self._subtree,)

    @classmethod
    def candidates(cls, name: str) -> Iterator[Version2]:
        """Subtrees `name` of our own group and its ancestors, nearest first; which one works is left to the trial."""
        place = places().get("")
        if place is None:
            return
        if _delegated(place):
            yield cls(place.own, name, move=True)
        for parent in place.upwards():
            yield cls(parent, name, move=False)

    def open(self) -> None:
        """Make the subtree and hand the controllers down to it, where that is not so yet; OSError if we may not."""
        parent = self._subtree.parent
        if self._shelter is not None and not self._hands_down(parent):
            _move(parent, self._shelter)
        self._hand_down(parent)
        self._subtree.mkdir(exist_ok=True)
        self._hand_down(self._subtree)

    def _hands_down(self, group: Path) -> bool:
        return self.controllers <= set(_words(group / "cgroup.subtree_control"))

    def _hand_down(self, group: Path) -> None:
        if self._hands_down(group):
            return
        # The kernel would refuse most controllers, but for `cpu` and `pids` alone it would make the group a "threaded"
        # one, in which ours could hold no process. The root may hold processes.
        if _words(group / "cgroup.procs") and not _is_root(group):
            raise OSError(errno.EBUSY, "processes run in this group itself", str(group))
        _write(group / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(self.controllers)))

    def create(self, replica_id: str, vcpus: float, memory: int) -> Groups:
        """The group of one replica; `memory` in bytes. OSError if it cannot be made."""
        self.open()
        group = self._subtree / replica_id
        group.mkdir(exist_ok=True)
        if "memory" in self.controllers:
            _write(group / "memory.max", str(memory))
            _write_if_there(group / "memory.swap.max", "0")
            _write_if_there(group / "memory.oom.group", "1")  # a replica that lost a part of itself is none
        if "cpu" in self.controllers:
            _write(group / "cpu.max", f"{int(vcpus * _PERIOD_US)} {_PERIOD_US}")
        if "pids" in self.controllers:
            _write(group / "pids.max", str(MOST_PROCESSES))
        return Groups((group,), group / "memory.events" if "memory" in self.controllers else None)


class Version1:
    """One group per controller; where controllers share a hierarchy their groups are one folder."""

    name = "cgroup v1"

    def __init__(self, parents: Mapping[str, Path], name: str) -> None:
        self.controllers = frozenset(parents)
        self._subtree = {controller: parent / name for controller, parent in parents.items()}
        self.subtrees = tuple(dict.fromkeys(self._subtree.values()))

    @classmethod
    def candidates(cls, name: str) -> Iterator[Version1]:
        """Subtrees `name` of our own groups, then of the hierarchies' roots."""
        found = {controller: place for controller, place in places().items() if controller in WANTED}
        yield cls({controller: place.own for controller, place in found.items()}, name)
        yield cls({controller: place.mount for controller, place in found.items()}, name)

    def open(self) -> None:
        """Make the subtrees; OSError if that is not allowed here."""
        for subtree in self.subtrees:
            subtree.mkdir(exist_ok=True)

    def create(self, replica_id: str, vcpus: float, memory: int) -> Groups:
        """The groups of one replica; `memory` in bytes. OSError if they cannot be made."""
        self.open()
        groups = {controller: subtree / replica_id for controller, subtree in self._subtree.items()}
        for group in groups.values():
            group.mkdir(exist_ok=True)
        if "memory" in groups:
            _write(groups["memory"] / "memory.limit_in_bytes", str(memory))
            _write_if_there(groups["memory"] / "memory.memsw.limit_in_bytes", str(memory))
        if "cpu" in groups:
            _write(groups["cpu"] / "cpu.cfs_period_us", str(_PERIOD_US))
            _write(groups["cpu"] / "cpu.cfs_quota_us", str(int(vcpus * _PERIOD_US)))
        if "pids" in groups:
            _write(groups["pids"] / "pids.max", str(MOST_PROCESSES))
        events = groups["memory"] / "memory.oom_control" if "memory" in groups else None
        return Groups(tuple(dict.fromkeys(groups.values())), events)


def _delegated(place: Place) -> bool:
    """Whether all of our own group is for us to arrange: a container's, or one that systemd marked so."""
    if not os.access(place.own / "cgroup.subtree_control", os.W_OK):
        return False
    if place.own == place.mount:
        return not _is_root(place.own)
    for mark in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(place.own, mark) == b"1":
                return True
    return False


def _is_root(group: Path) -> bool:
    """Whether this is the machine's root group of version 2; the root of a container looks like any other group."""
    return not (group / "cgroup.type").exists()


def _move(group: Path, shelter: Path) -> None:
    """Move every process from one group into the other; OSError if some stay, or go on appearing."""
    shelter.mkdir(exist_ok=True)
    for _ in range(_MOVING_ROUNDS):
        members = _words(group / "cgroup.procs")
        if not members:
            return
        for pid in members:
            try:
                _write(shelter / "cgroup.procs", pid)
            except ProcessLookupError:
                continue
    raise OSError(errno.EBUSY, "processes stay in this group", str(group))


def remove(group: Path) -> bool:
    """Kill what is left in the group and below it, and remove it; False while something in it has not ended yet."""
    folders = [Path(folder) for folder, _, _ in os.walk(group, topdown=False)]
    if not _write_if_there(group / "cgroup.kill", "1"):
        # Version 1 cannot kill a whole group: first nothing new can be born in it, then each is killed.
        _write_if_there(group / "pids.max", "0")
        for folder in folders:
            for pid in _words(folder / "cgroup.procs"):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(pid), signal.SIGKILL)
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
    return not group.exists()


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


def _lines(path: Path) -> list[str]:
    return _text(path).splitlines()


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _write(path: Path, value: str) -> None:
    # Not write_text: truncating and buffering mean nothing to these files, and the error must come from this call.
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(fd)


def _write_if_there(path: Path, value: str) -> bool:
    """For what a kernel may lack, and a group that may be gone; False if it could not be written."""
    with contextlib.suppress(OSError):
        _write(path, value)
        return True
    return False
