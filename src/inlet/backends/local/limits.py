"""What holds a replica to its instance: the best rung of a ladder that really works here, found by trying.

    cgroup v2 -> cgroup v1 -> a group for memory or for CPU only -> no group at all

What no group holds is held as well as a process may without rights: memory by RLIMIT_DATA and by the keeper, which
watches the sum; CPU by affinity, and by the thread budgets of `command.py`. `find_rung` is called once by `backend.py`;
`confine` by `replica.py` before each start. Instances larger than the machine get what there is, and `Limits` says so.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inlet.backends.local import cgroups
from inlet.core.catalogue import Instance
from inlet.core.seen import Hold, Limits

WATCHED = Hold(enforced=False, by="RLIMIT_DATA and a watch on the sum")
PINNED = Hold(enforced=False, by="CPU affinity and thread budgets")
_TRIAL_MEMORY = 256 * 2**20
_TRIAL_S = 10.0
_ENTER = "import sys\nfor path in sys.argv[1:]:\n    open(path, 'w').write('0')"

Version = cgroups.Version1 | cgroups.Version2


@dataclass(frozen=True, slots=True)
class Allotment:
    """A share of the machine; `memory` in bytes."""

    vcpus: float
    memory: int


@dataclass(frozen=True, slots=True)
class Confinement:
    """How one replica is held to its allotment: the fields of the keeper's plan, and the groups to remove afterwards."""

    groups: tuple[str, ...] = ()
    enter: tuple[str, ...] = ()
    events: str | None = None
    data_limit: int | None = None
    watched_memory: int | None = None
    cpus: tuple[int, ...] = ()


class Rung:
    """One way to limit replicas: by these groups, and what they do not hold by what needs no right.

    `others` are subtrees in which an earlier control may have left groups, because it was started elsewhere.
    """

    def __init__(self, groups: Version | None, others: Iterable[Path] = ()) -> None:
        self.cpu, self.memory = PINNED, WATCHED
        if groups is not None and "cpu" in groups.controllers:
            self.cpu = Hold(enforced=True, by=groups.name)
        if groups is not None and "memory" in groups.controllers:
            self.memory = Hold(enforced=True, by=groups.name)
        self._groups = groups
        self._others = tuple(others)
        self._turn = itertools.count()

    def confine(self, replica_id: str, allotment: Allotment) -> Confinement:
        """Prepare the limits of one replica; OSError if that fails."""
        folders: tuple[Path, ...] = ()
        events = None
        if self._groups is not None:
            try:
                made = self._groups.create(replica_id, allotment.vcpus, allotment.memory)
            except OSError:
                _remove(self._groups, replica_id)
                raise
            folders, events = made.folders, made.events
        watched = None if self.memory.enforced else allotment.memory
        return Confinement(
            groups=tuple(str(folder) for folder in folders),
            enter=tuple(str(folder / "cgroup.procs") for folder in folders),
            events=None if events is None else str(events),
            data_limit=watched,
            watched_memory=watched,
            cpus=() if self.cpu.enforced else self._cpus(allotment.vcpus),
        )

    def _cpus(self, vcpus: float) -> tuple[int, ...]:
        """Neighbouring CPUs, each replica starting after the one before it."""
        usable, wanted = sorted(os.sched_getaffinity(0)), math.ceil(vcpus)
        if wanted >= len(usable):
            return ()
        first = next(self._turn) * wanted
        return tuple(usable[(first + offset) % len(usable)] for offset in range(wanted))

    def strays(self, known: set[str]) -> list[Path]:
        """Groups of ours that no known replica uses, and subtrees that are not used any more."""
        current = () if self._groups is None else self._groups.subtrees
        found: list[Path] = []
        for subtree in {*current, *self._others}:
            groups = [path for path in subtree.iterdir() if path.is_dir()] if subtree.is_dir() else []
            unknown = [path for path in groups if str(path) not in known]
            found += unknown
            if subtree not in current and unknown == groups and subtree.is_dir():
                found.append(subtree)
        return found

    def close(self) -> None:
        """Remove what is empty."""
        for subtree in () if self._groups is None else self._groups.subtrees:
            with contextlib.suppress(OSError):  # replicas that run on keep it
                subtree.rmdir()


def machine() -> Allotment:
    """What there is here: the machine, or the share of it that we were given ourselves."""
    vcpus, memory = cgroups.ceilings(cgroups.places())
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Allotment(min(len(os.sched_getaffinity(0)), vcpus), int(min(installed, memory)))


def wanted(instance: Instance) -> Allotment:
    """What the instance promises; memory counted in GiB. A row without vCPU (accelerated ones) promises one."""
    return Allotment(instance.vcpus or 1, int(instance.memory_gb * 2**30))


def fits(instance: Instance, there: Allotment) -> bool:
    """Whether the machine has all that the instance promises."""
    asked = wanted(instance)
    return asked.vcpus <= there.vcpus and asked.memory <= there.memory


def allot(instance: Instance, there: Allotment) -> Allotment:
    """What a replica of this instance gets here."""
    asked = wanted(instance)
    return Allotment(min(asked.vcpus, there.vcpus), min(asked.memory, there.memory))


def limits(instance: Instance, there: Allotment, rung: Rung) -> Limits:
    """What a replica of this instance gets here, by which means, and what it was promised."""
    asked, given = wanted(instance), allot(instance, there)
    return Limits(
        vcpus=given.vcpus,
        memory=given.memory,
        cpu_hold=rung.cpu,
        memory_hold=rung.memory,
        instance_vcpus=asked.vcpus,
        instance_memory=asked.memory,
    )


def find_rung(name: str) -> Rung:
    """The best rung that works; `name` is that of our subtree of groups. Blocks for some 20 ms: it starts a process."""
    candidates: list[Version] = [*cgroups.Version2.candidates(name), *cgroups.Version1.candidates(name)]
    subtrees = [subtree for groups in candidates for subtree in groups.subtrees]
    candidates.sort(key=_holds, reverse=True)
    for groups in candidates:
        if _holds(groups) and _works(groups):
            return Rung(groups, subtrees)
    return Rung(None, subtrees)


def _holds(groups: Version) -> int:
    """How many of the two promises of an instance these groups can hold."""
    return len(groups.controllers & {"memory", "cpu"})


def _works(groups: Version) -> bool:
    """Make a group, set all limits, put a real process into it: only that shows that all rights are there."""
    there = [subtree for subtree in groups.subtrees if subtree.exists()]
    works = False
    try:
        trial = groups.create("trial", 0.5, _TRIAL_MEMORY)
        enter = [str(folder / "cgroup.procs") for folder in trial.folders]
        command = [sys.executable, "-I", "-S", "-c", _ENTER, *enter]
        works = subprocess.run(command, capture_output=True, timeout=_TRIAL_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        works = False
    _remove(groups, "trial")
    for subtree in groups.subtrees:
        if not works and subtree not in there:
            with contextlib.suppress(OSError):
                subtree.rmdir()
    return works


def _remove(groups: Version, replica_id: str) -> None:
    """What was made of one replica's groups, which hold no process."""
    for subtree in groups.subtrees:
        cgroups.remove(subtree / replica_id)
