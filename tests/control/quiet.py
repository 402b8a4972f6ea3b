"""A platform on which nothing happens unless a test says so: what the API reads from a backend, and no more."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from inlet.backends.base import LogLine, ReplicaSet
from inlet.core.catalogue import CATALOGUE, Availability, Instance
from inlet.core.errors import BackendUnavailable
from inlet.core.seen import SeenReplicaSet


class QuietBackend:
    """CPU rows only. `sets` and `lines` are what it shows; `away` makes every question fail."""

    def __init__(self) -> None:
        self.sets: list[SeenReplicaSet] = []
        self.lines: list[LogLine] = []
        self.more: asyncio.Queue[LogLine] = asyncio.Queue()  # what a follower gets next
        self.away = False
        self.silent = False  # observe() never answers
        self.acted: list[str] = []
        self.closed_logs = asyncio.Event()

    async def start(self, on_change: Callable[[], None]) -> None:
        self.acted.append("start")

    async def stop(self, *, keep_replicas: bool) -> None:
        self.acted.append("stop")

    async def apply(self, replica_set: ReplicaSet) -> None:
        self.acted.append("apply")

    async def remove(self, replica_set_id: str, *, grace: float) -> None:
        self.acted.append("remove")

    async def forget(self, endpoint_id: str) -> None:
        self.acted.append("forget")

    async def observe(self) -> Sequence[SeenReplicaSet]:
        if self.silent:
            await asyncio.Event().wait()
        self._ask()
        return tuple(self.sets)

    async def catalogue(self) -> Sequence[Instance]:
        self._ask()
        return tuple(
            row if row.accelerator == "cpu" else replace(row, status=Availability.NOT_AVAILABLE)
            for row in CATALOGUE
        )

    async def logs(
        self, endpoint_id: str, *, replica_id: str | None, tail: int | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        self._ask()
        lines = [line for line in self.lines if replica_id in (None, line.replica_id)]
        try:
            for line in lines if tail is None else lines[len(lines) - tail :]:
                yield line
            while follow:
                yield await self.more.get()
        finally:
            self.closed_logs.set()

    def _ask(self) -> None:
        if self.away:
            raise BackendUnavailable("the platform cannot be asked")
