"""How much of its vCPU each replica uses, from the process table. Called by `backend.py` when it observes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable

from inlet.backends.local import keeper
from inlet.backends.local.replica import Replica

_SHORTEST_S = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")


class CpuMeter:
    """Measures between two calls that are at least a second apart."""

    def __init__(self) -> None:
        self._at = 0.0
        self._ticks: dict[str, int] = {}

    async def update(self, replicas: Iterable[Replica]) -> None:
        """Set `cpu` of each replica: 1.0 is all of its vCPU; None until there is a measurement."""
        now = time.monotonic()
        if now - self._at < _SHORTEST_S:
            return
        since, self._at = now - self._at, now
        table = await asyncio.to_thread(keeper.processes)
        before, self._ticks = self._ticks, {}
        for replica in replicas:
            if replica.keeper_pid in table:
                tree = keeper.descendants(replica.keeper_pid, table)
                ticks = sum(table[pid].ticks for pid in tree)
                self._ticks[replica.id] = ticks
                if replica.id in before:
                    used = max(0, ticks - before[replica.id])
                    replica.cpu = used / _TICKS / since / replica.vcpus
