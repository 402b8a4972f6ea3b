"""A backend and the world around it, so that one test body can drive every implementation.

`FakeWorld` makes time pass by ticks; `LocalWorld` starts real processes and waits for the backend's own `on_change`.
"""

import asyncio
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from inlet.backends import fake
from inlet.backends.base import Backend, Launch, LogLine, ReplicaSet
from inlet.backends.fake import FakeBackend
from inlet.backends.local import LocalBackend, Placement, Timing
from inlet.core.catalogue import CATALOGUE, Instance
from inlet.core.seen import SeenReplica, SeenReplicaSet

Seen = Mapping[str, SeenReplicaSet]
SMALL = next(row for row in CATALOGUE if row.type == "intel-spr" and row.size == "x1")
# Silence is told from slowness by the clock, so a machine that is far slower says how long to wait (tests/uml).
PATIENCE = float(os.environ.get("INLET_TEST_PATIENCE", "1"))
# A machine may be so busy that a process stands still for seconds: nobody is given up soon but by `LocalWorld.hasten`.
FAST = Timing(
    first_probe=0.1,
    probe=0.2,
    probe_timeout=10.0 * PATIENCE,
    failures=round(100 * PATIENCE),
    settle=60.0,
    longest_backoff=0.2,
)
NOTICING = replace(FAST, probe_timeout=0.5 * PATIENCE)  # where silence is what a test is about
GIVEN_UP = round(3 * PATIENCE)
WITHIN_S = 60.0 * PATIENCE


def replica_set(
    name: str = "e1-r1", n: int = 1, instance: Instance = SMALL, env: Mapping[str, str] | None = None
) -> ReplicaSet:
    endpoint_id, _, revision = name.rpartition("-r")
    launch = Launch(
        location="/models/none",
        local=True,
        commit=None,
        task="text-classification",
        framework="pytorch",
        image_kind="huggingface",
        env=env or {},
    )
    return ReplicaSet(name, endpoint_id, int(revision), n, instance, launch)


def command(launch: Launch, placement: Placement) -> list[str]:
    program = Path(__file__).with_name("replica.py")
    flags = ["--socket", str(placement.socket), "--termination-log", str(placement.termination_log)]
    return [sys.executable, "-I", "-S", "-u", str(program), *flags]


async def get(replica: SeenReplica, path: str) -> str:
    """The body of one answer; empty if the replica ends instead of answering."""
    assert replica.address is not None
    reader, writer = await asyncio.open_unix_connection(replica.address.removeprefix("unix:"))
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2].decode()


def eventually(condition: Callable[[], object], within: float = WITHIN_S) -> None:
    """For what is no change of an observation. Blocks the loop."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.01)


class World(Protocol):
    backend: Backend
    changes: int

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def restart(self, *, keep_replicas: bool) -> None: ...
    async def until(self, condition: Callable[[Seen], object]) -> Seen: ...
    async def at_once(self) -> Sequence[SeenReplicaSet]: ...
    async def crash(self, replica: SeenReplica) -> None: ...
    def does(self, what: str, name: str = "e1-r1", n: int = 1) -> ReplicaSet: ...


class FakeWorld:
    def __init__(self) -> None:
        self.backend = FakeBackend()
        self.changes = 0

    async def open(self) -> None:
        await self.backend.start(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def close(self) -> None:
        await self.backend.stop(keep_replicas=False)

    async def restart(self, *, keep_replicas: bool) -> None:
        await self.backend.stop(keep_replicas=keep_replicas)
        await self.open()

    async def until(self, condition: Callable[[Seen], object]) -> Seen:
        for _ in range(100):
            seen = {each.id: each for each in await self.backend.observe()}
            if condition(seen):
                return seen
            self.backend.tick()
        raise AssertionError(f"not within 100 ticks: {seen}")

    async def at_once(self) -> Sequence[SeenReplicaSet]:
        return await self.backend.observe()

    async def crash(self, replica: SeenReplica) -> None:
        self.backend.crash(replica.id)

    def does(self, what: str, name: str = "e1-r1", n: int = 1) -> ReplicaSet:
        self.backend.behaviours[name] = {
            "serve": fake.HEALTHY,
            "crash": fake.CRASHING,
            "config": fake.MISCONFIGURED,
            "never": fake.NEVER_READY,
        }[what]
        return replica_set(name, n)


class LocalWorld:
    def __init__(self, folder: Path, *, timing: Timing = FAST, **options: object) -> None:
        self.folder = folder
        self.options = {"drain_seconds": 5.0, "strict_instances": False, "command": command, **options}
        self.timing = timing
        self.changes = 0
        self.backend = self._make()
        self._event = asyncio.Event()

    def _make(self) -> LocalBackend:
        return LocalBackend(
            home=self.folder,
            run_dir=self.folder / "run",
            cache=self.folder / "cache",
            timing=self.timing,
            **self.options,
        )

    async def open(self) -> None:
        await self.backend.start(self._changed)

    def _changed(self) -> None:
        self.changes += 1
        self._event.set()

    async def close(self) -> None:
        await self.backend.stop(keep_replicas=False)

    async def restart(self, *, keep_replicas: bool) -> None:
        await self.backend.stop(keep_replicas=keep_replicas)
        self.backend = self._make()
        await self.open()

    async def until(self, condition: Callable[[Seen], object]) -> Seen:
        """Looks again only when the backend says that something changed."""
        seen: Seen = {}
        try:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    self._event.clear()
                    seen = {each.id: each for each in await self.backend.observe()}
                    if condition(seen):
                        return seen
                    await self._event.wait()
        except TimeoutError:
            raise AssertionError(f"not within {WITHIN_S} s: {seen}") from None

    async def at_once(self) -> Sequence[SeenReplicaSet]:
        """An observation before anything else happens: without the look at the process table, which takes a while."""
        meter = self.backend._meter
        measured_at, meter._at = meter._at, math.inf
        try:
            return await self.backend.observe()
        finally:
            meter._at = measured_at

    def hasten(self, replica: SeenReplica) -> None:
        """From now on this one, and no other, is given up soon when it does not answer."""
        (found,) = (
            each.replicas[replica.id]
            for each in self.backend._supervisors.values()
            if replica.id in each.replicas
        )
        found._site = replace(found._site, timing=replace(found._site.timing, failures=GIVEN_UP))

    async def crash(self, replica: SeenReplica) -> None:
        await get(replica, "/crash")

    def does(self, what: str, name: str = "e1-r1", n: int = 1, **env: str) -> ReplicaSet:
        return replica_set(name, n, env={"REPLICA_DOES": what, **env})


async def lines(backend: Backend, endpoint_id: str, **how: object) -> Sequence[LogLine]:
    arguments = {"replica_id": None, "tail": None, "follow": False, **how}
    return [line async for line in backend.logs(endpoint_id, **arguments)]


def ready(name: str, n: int = 1) -> Callable[[Seen], bool]:
    """Exactly `n` replicas of the set, all of them ready."""
    return lambda seen: name in seen and len(seen[name].ready) == n == len(seen[name].replicas)
