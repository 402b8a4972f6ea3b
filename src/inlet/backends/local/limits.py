"""What holds a replica to its instance: the best rung of a ladder that really works here, found by trying.

    cgroup v2 -> cgroup v1 -> best effort (RLIMIT_DATA, memory watched by the keeper, CPU affinity)

`find_rung` is called once by `backend.py`; `confine` by `replica.py` before each start. Instances larger than the
machine get what there is, and `words` says so.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from inlet.backends.local import cgroups
from inlet.core.catalogue import Instance

_TRIAL_MEMORY = 256 * 2**20
_TRIAL_S = 10.0
_ENTER = "import sys\nfor path in sys.argv[1:]:\n    open(path, 'w').write('0')"


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


class Rung(Protocol):
    """One way to limit replicas. `enforced`: the kernel holds every one of them to its limits."""

    name: str
    enforced: bool

    def confine(self, replica_id: str, allotment: Allotment) -> Confinement:
        """Prepare the limits of one replica; OSError if that fails."""

    def strays(self, known: set[str]) -> list[Path]:
        """Groups of ours that no known replica uses."""

    def close(self) -> None:
        """Remove what is empty."""


class Grouped:
    """Limits by control groups."""

    enforced = True

    def __init__(self, groups: cgroups.Version1 | cgroups.Version2) -> None:
        self._groups = groups
        self.name = groups.name

    def confine(self, replica_id: str, allotment: Allotment) -> Confinement:
        made = self._groups.create(replica_id, allotment.vcpus, allotment.memory)
        return Confinement(
            groups=tuple(str(folder) for folder in made.folders),
            enter=tuple(str(folder / "cgroup.procs") for folder in made.folders),
            events=str(made.events),
        )

    def strays(self, known: set[str]) -> list[Path]:
        return [
            path
            for subtree in self._groups.subtrees
            for path in subtree.iterdir()
            if path.is_dir() and str(path) not in known
        ]

    def close(self) -> None:
        for subtree in self._groups.subtrees:
            with contextlib.suppress(OSError):  # replicas that run on keep it
                subtree.rmdir()


class BestEffort:
    """Limits without any right: what a process may allocate, what its tree may hold, where it may run."""

    name = "best effort"
    enforced = False

    def __init__(self) -> None:
        self._turn = itertools.count()

    def confine(self, replica_id: str, allotment: Allotment) -> Confinement:  # noqa: ARG002 - the seam's name
        return Confinement(
            data_limit=allotment.memory, watched_memory=allotment.memory, cpus=self._cpus(allotment.vcpus)
        )

    def _cpus(self, vcpus: float) -> tuple[int, ...]:
        """Neighbouring CPUs, each replica starting after the one before it."""
        usable, wanted = sorted(os.sched_getaffinity(0)), math.ceil(vcpus)
        if wanted >= len(usable):
            return ()
        first = next(self._turn) * wanted
        return tuple(usable[(first + offset) % len(usable)] for offset in range(wanted))

    def strays(self, known: set[str]) -> list[Path]:  # noqa: ARG002 - the seam's name
        return []

    def close(self) -> None:
        return


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


def words(instance: Instance, there: Allotment, rung: Rung) -> str:
    """For a person: whether the limits are enforced, what they are, and how much of the instance is missing."""
    how = f"enforced ({rung.name})" if rung.enforced else rung.name
    text = f"{how}: {_size(allot(instance, there))}"
    if fits(instance, there):
        return text
    return f"{text}, which is all that this machine has of {_size(wanted(instance))}"


def _size(allotment: Allotment) -> str:
    return f"{allotment.vcpus:g} vCPU, {allotment.memory / 2**30:.1f} GB"


def find_rung(name: str) -> Rung:
    """The best rung that works; `name` is that of our subtree of groups. Blocks for some 20 ms: it starts a process."""
    for groups in _candidates(name):
        if _works(groups):
            return Grouped(groups)
    return BestEffort()


def _candidates(name: str) -> Iterator[cgroups.Version1 | cgroups.Version2]:
    yield from cgroups.Version2.candidates(name)
    yield from cgroups.Version1.candidates(name)


def _works(groups: cgroups.Version1 | cgroups.Version2) -> bool:
    """Make a group, set both limits, put a real process into it: only that shows that all rights are there."""
    there = [subtree for subtree in groups.subtrees if subtree.exists()]
    made: tuple[Path, ...] = ()
    works = False
    try:
        groups.open()
        made = tuple(subtree / "trial" for subtree in groups.subtrees)
        trial = groups.create("trial", 0.5, _TRIAL_MEMORY)
        enter = [str(folder / "cgroup.procs") for folder in trial.folders]
        command = [sys.executable, "-I", "-S", "-c", _ENTER, *enter]
        works = subprocess.run(command, capture_output=True, timeout=_TRIAL_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        works = False
    for group in made:
        cgroups.remove(group)
    if not works:
        for subtree in groups.subtrees:
            if subtree not in there:
                with contextlib.suppress(OSError):
                    subtree.rmdir()
    return works
