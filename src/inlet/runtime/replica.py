"""What state this replica is in, and when it may end. Written by `serve`, read by `app`; on the event loop only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from inlet.runtime.serving import Serving

QUIET_S = 1.0  # a draining replica ends after this long without a request


class Phase(StrEnum):
    """`state` in answers of a replica that is not ready."""

    DOWNLOADING = "downloading"
    INITIALIZING = "initializing"
    READY = "ready"
    TERMINATING = "terminating"


class Replica:
    """The phase, what is served, and the requests in flight."""

    def __init__(self) -> None:
        self.phase = Phase.INITIALIZING
        self.progress = "starting"
        self.served: Serving | None = None
        self.out_of_memory = asyncio.Event()
        self._in_flight = 0
        self._changed = asyncio.Event()

    @property
    def draining(self) -> bool:
        return self.phase is Phase.TERMINATING

    def report(self, phase: Phase, progress: str) -> None:
        """How far the start is; ignored once it is over."""
        if self.phase in (Phase.DOWNLOADING, Phase.INITIALIZING):
            self.phase, self.progress = phase, progress

    def become_ready(self, served: Serving) -> None:
        """Requests are computed by `served` from now on; what computed them before finishes what it has begun."""
        if self.served is not None:
            self.served.replace()
        self.served = served
        if not self.draining:
            self.phase = Phase.READY

    def drain(self) -> None:
        """From now on answers say that they are the last ones."""
        self.phase = Phase.TERMINATING

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around every request that must be answered before the replica may end."""
        self._in_flight += 1
        self._changed.set()
        try:
            yield
        finally:
            self._in_flight -= 1
            self._changed.set()

    async def quiet(self) -> None:
        """Return once there was neither a request in flight nor a new one for `QUIET_S`."""
        while True:
            self._changed.clear()
            try:
                async with asyncio.timeout(QUIET_S if self._in_flight == 0 else None):
                    await self._changed.wait()
            except TimeoutError:
                return
