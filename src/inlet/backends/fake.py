"""A backend in memory that misbehaves on purpose, for the control loop's tests and for anyone who writes a client of it.

Time is what the test makes of it: nothing happens between two calls of `tick`. What goes wrong is named, in two kinds:
a `Behaviour` is what the replicas of a set do, a `Fault` is what the platform does to whoever calls it. Two accidents
are methods: `crash` ends one replica, `lose` makes the platform forget a replica set.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from inlet.backends.base import LogLine, ReplicaSet
from inlet.core.catalogue import CATALOGUE, Instance
from inlet.core.errors import BackendUnavailable, Refused
from inlet.core.seen import Exit, ExitKind, Hold, Limits, Phase, SeenReplica, SeenReplicaSet

CRASH = Exit(ExitKind.CRASHED, "Ended with code 1: a crash on purpose", 1)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Of every replica of a set: ticks from its start until it is ready (None: never) and until it ends by itself."""

    ready_after: int | None = 1
    ends_after: int | None = None
    exit: Exit = CRASH


HEALTHY = Behaviour()
SLOW = Behaviour(ready_after=5)
NEVER_READY = Behaviour(ready_after=None)
CRASHING = Behaviour(ready_after=None, ends_after=1)
SHORT_LIVED = Behaviour(ready_after=1, ends_after=3)
OUT_OF_MEMORY = replace(
    CRASHING,
    exit=Exit(ExitKind.OUT_OF_MEMORY, "Out of memory: more than the limit of 2 GB; choose a larger instance"),
)
MISCONFIGURED = replace(CRASHING, exit=Exit(ExitKind.CONFIGURATION, "The model has no such task", 78))


class Fault(StrEnum):
    """What the platform does instead of its work, for as long as it is in `FakeBackend.faults`."""

    FAILING = "failing"  # apply and remove raise BackendUnavailable
    REFUSING = "refusing"  # apply raises Refused
    BLIND = "blind"  # observe raises BackendUnavailable


@dataclass(slots=True)
class _Replica:
    id: str
    started_at: int
    behaviour: Behaviour
    phase: Phase = Phase.INITIALIZING


@dataclass(slots=True)
class _Set:
    applied: ReplicaSet
    replicas: dict[str, _Replica] = field(default_factory=dict)
    removing: bool = False
    halted: bool = False
    failed_starts: int = 0
    ends: int = 0
    last_exit: Exit | None = None


class FakeBackend:
    """One tick is one second. A leaving replica drains for one tick; one that ended is replaced in the next."""

    def __init__(self, behaviour: Behaviour = HEALTHY) -> None:
        """`behaviour` is that of every set which `behaviours` does not name."""
        self.behaviour = behaviour
        self.behaviours: dict[str, Behaviour] = {}
        self.faults: set[Fault] = set()
        self.now = 0
        self._sets: dict[str, _Set] = {}
        self._names = 0
        self._log: dict[str, list[LogLine]] = {}
        self._news = asyncio.Event()
        self._on_change: Callable[[], None] = lambda: None

    # What a test does to it

    def tick(self, ticks: int = 1) -> None:
        """Let time pass."""
        for _ in range(ticks):
            self.now += 1
            for each in tuple(self._sets.values()):
                self._move(each)

    def crash(self, replica_id: str, exit_: Exit = CRASH) -> None:
        """End one replica now."""
        for each in self._sets.values():
            if replica_id in each.replicas:
                self._end(each, each.replicas[replica_id], exit_)

    def lose(self, replica_set_id: str) -> None:
        """Forget a replica set and all that it ran."""
        del self._sets[replica_set_id]
        self._on_change()

    # Verbs

    async def start(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        on_change()

    async def stop(self, *, keep_replicas: bool) -> None:
        self._on_change = lambda: None
        if not keep_replicas:
            self._sets.clear()

    async def apply(self, replica_set: ReplicaSet) -> None:
        self._check(Fault.FAILING)
        if Fault.REFUSING in self.faults:
            raise Refused("The quota of this platform is used up: ask for more, or use another instance")
        known = self._sets.setdefault(replica_set.id, _Set(replica_set))
        if known.removing:
            known = self._sets[replica_set.id] = _Set(replica_set, known.replicas)
        known.halted = known.halted and known.applied == replica_set
        known.applied = replica_set
        self._balance(known)

    async def remove(self, replica_set_id: str, *, grace: float) -> None:  # noqa: ARG002 - drains in one tick
        self._check(Fault.FAILING)
        known = self._sets.get(replica_set_id)
        if known is not None and not known.removing:
            known.removing = True
            known.applied = replace(known.applied, n=0)
            self._balance(known)

    async def observe(self) -> Sequence[SeenReplicaSet]:
        self._check(Fault.BLIND)
        return tuple(self._seen(each) for each in self._sets.values())

    async def catalogue(self) -> Sequence[Instance]:
        return CATALOGUE

    async def logs(
        self, endpoint_id: str, *, replica_id: str | None, tail: int | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        shown = 0
        while True:
            news = self._news
            lines = [line for line in self._log.get(endpoint_id, []) if replica_id in (None, line.replica_id)]
            first = max(0, len(lines) - tail) if shown == 0 and tail is not None else shown
            for line in lines[first:]:
                yield line
            shown = len(lines)
            if not follow:
                return
            await news.wait()

    async def forget(self, endpoint_id: str) -> None:
        self._log.pop(endpoint_id, None)

    # How it works

    def _check(self, fault: Fault) -> None:
        if fault in self.faults:
            raise BackendUnavailable("The platform does not answer")

    def _move(self, each: _Set) -> None:
        for replica in tuple(each.replicas.values()):
            age, does = self.now - replica.started_at, replica.behaviour
            if replica.phase is Phase.TERMINATING:
                del each.replicas[replica.id]
                self._say(each, replica, "stopped")
            elif does.ends_after is not None and age >= does.ends_after:
                self._end(each, replica, does.exit)
            elif (
                does.ready_after is not None
                and age >= does.ready_after
                and replica.phase is not Phase.RUNNING
            ):
                replica.phase = Phase.RUNNING
                each.failed_starts = 0
                each.ends = 0 if does.ends_after is None else each.ends
                self._say(each, replica, "ready")
        self._balance(each)
        if each.removing and not each.replicas:
            del self._sets[each.applied.id]
            self._on_change()

    def _end(self, each: _Set, replica: _Replica, exit_: Exit) -> None:
        del each.replicas[replica.id]
        each.last_exit = exit_
        each.failed_starts += replica.phase is not Phase.RUNNING
        each.ends += 1
        each.halted = each.halted or exit_.kind is ExitKind.CONFIGURATION
        self._say(each, replica, exit_.message)

    def _balance(self, each: _Set) -> None:
        staying = [replica for replica in each.replicas.values() if replica.phase is not Phase.TERMINATING]
        staying.sort(key=lambda replica: (replica.phase is Phase.RUNNING, -replica.started_at))
        for replica in staying[: max(0, len(staying) - each.applied.n)]:
            replica.phase = Phase.TERMINATING
            self._say(each, replica, "stopping")
        for _ in range(0 if each.halted else each.applied.n - len(staying)):
            self._names += 1
            replica = _Replica(f"{each.applied.id}-{self._names:05}", self.now, self._behaviour(each))
            each.replicas[replica.id] = replica
            self._say(each, replica, "starting")

    def _behaviour(self, each: _Set) -> Behaviour:
        return self.behaviours.get(each.applied.id, self.behaviour)

    def _say(self, each: _Set, replica: _Replica, line: str) -> None:
        log = self._log.setdefault(each.applied.endpoint_id, [])
        log.append(LogLine(float(self.now), replica.id, "stdout", line))
        self._news.set()
        self._news = asyncio.Event()
        self._on_change()

    def _seen(self, each: _Set) -> SeenReplicaSet:
        return SeenReplicaSet(
            id=each.applied.id,
            endpoint_id=each.applied.endpoint_id,
            revision=each.applied.revision,
            n=each.applied.n,
            replicas=tuple(
                SeenReplica(
                    id=replica.id,
                    phase=replica.phase,
                    address=f"unix:/nowhere/{replica.id}.sock",
                    started_at=float(replica.started_at),
                )
                for replica in each.replicas.values()
            ),
            failed_starts=each.failed_starts,
            ends=each.ends,
            last_exit=each.last_exit,
            limits=_not_limited(each.applied.instance),
        )


def _not_limited(instance: Instance) -> Limits:
    vcpus, memory = instance.vcpus or 1, int(instance.memory_gb * 2**30)
    nothing = Hold(enforced=False, by="nothing")
    return Limits(vcpus, memory, nothing, nothing, vcpus, memory)
