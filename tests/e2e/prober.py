"""A caller at a constant rate, whatever the answers: what a user's traffic looks like while something breaks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Self

import httpx


@dataclass(frozen=True)
class Probe:
    """One request: when it was sent (monotonic seconds), how long it took, and its status or the error's name."""

    at: float
    took: float
    result: int | str


class Prober:
    """`with Prober(url, token, body, rate=50) as prober:` sends in the background; afterwards look at `probes`.

    Open loop: a slow answer does not delay the next request. Every request has a deadline of `timeout` seconds.
    """

    def __init__(
        self, url: str, token: str, body: dict[str, Any], *, rate: float = 50.0, timeout: float = 30.0
    ) -> None:
        self._url, self._body, self._rate, self._timeout = url, body, rate, timeout
        self._headers = {"Authorization": f"Bearer {token}"}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.probes: list[Probe] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(self._timeout + 10)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
        async with (
            httpx.AsyncClient(limits=limits, timeout=self._timeout, headers=self._headers) as client,
            asyncio.TaskGroup() as tasks,
        ):
            start, sent = time.monotonic(), 0
            while not self._stop.is_set():
                tasks.create_task(self._probe(client))
                sent += 1
                await asyncio.sleep(max(0.0, start + sent / self._rate - time.monotonic()))

    async def _probe(self, client: httpx.AsyncClient) -> None:
        started = time.monotonic()
        try:
            result: int | str = (await client.post(self._url, json=self._body)).status_code
        except httpx.HTTPError as error:
            result = type(error).__name__
        self.probes.append(Probe(started, time.monotonic() - started, result))

    @property
    def counts(self) -> Counter[int | str]:
        return Counter(probe.result for probe in self.probes)

    @property
    def failed(self) -> list[Probe]:
        return [probe for probe in self.probes if probe.result != 200]

    def slowest(self) -> float:
        return max(probe.took for probe in self.probes)

    def wait_for(self, more: int) -> None:
        """Until `more` further requests were answered well."""
        target = self.counts[200] + more
        deadline = time.monotonic() + 60
        while self.counts[200] < target:
            assert time.monotonic() < deadline, f"only {self.counts}"
            time.sleep(0.02)
