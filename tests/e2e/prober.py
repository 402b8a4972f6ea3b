"""A caller at a constant rate, whatever the answers: what a user's traffic looks like while something breaks.

Used by `bars.py` and by the tests of faults. Open loop: when each request is due is fixed beforehand, a slow answer delays
none of the others, and every time is counted from the moment in which the request was due, so that a stalled caller
hides nothing.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Self

import httpx

WITHIN_S = 60.0


@dataclass(frozen=True)
class Probe:
    """One request, in monotonic seconds: `at`, when it was due, `sent`, and how long it `took` since it was due.

    `result` is the status, or the name of the error that the caller met; `error` the body of an answer that is not 200,
    if it was a JSON object.
    """

    at: float
    sent: float
    took: float
    result: int | str
    error: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> float:
        return self.at + self.took


class Prober:
    """`with Prober(url, token, body, rate=50) as prober:` sends in the background; afterwards look at `probes`.

    `bodies` are sent in turn. `timeout`: seconds until a request is given up; more than a router holds one, so that the
    router is the one to answer.
    """

    def __init__(
        self, url: str, token: str, *bodies: Mapping[str, Any], rate: float = 50.0, timeout: float = 120.0
    ) -> None:
        self._url, self._bodies, self._rate, self._timeout = url, cycle(bodies), rate, timeout
        self._headers = {"Authorization": f"Bearer {token}"}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._open = 0
        self._extra: deque[Mapping[str, Any]] = deque()
        self._hold = threading.Event()
        self._holding = False
        self.probes: list[Probe] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2 * self._timeout)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
        # A request that waits here for a connection does not count against who is asked.
        timeout = httpx.Timeout(self._timeout, pool=None)
        async with (
            httpx.AsyncClient(limits=limits, timeout=timeout, headers=self._headers) as client,
            asyncio.TaskGroup() as tasks,
        ):
            start, count = time.monotonic(), 0
            while not self._stop.is_set():
                due = start + count / self._rate
                await asyncio.sleep(due - time.monotonic())
                await self._while_held()
                while self._extra:
                    self._send(tasks, client, time.monotonic(), self._extra.popleft())
                self._send(tasks, client, due, next(self._bodies))
                count += 1

    async def _while_held(self) -> None:
        while self._hold.is_set() and not self._stop.is_set():
            self._holding = True
            await asyncio.sleep(0.001)
        self._holding = False

    def _send(
        self, tasks: asyncio.TaskGroup, client: httpx.AsyncClient, due: float, body: Mapping[str, Any]
    ) -> None:
        self._open += 1
        tasks.create_task(self._probe(client, due, body))

    async def _probe(self, client: httpx.AsyncClient, due: float, body: Mapping[str, Any]) -> None:
        sent = time.monotonic()
        error: Any = None
        try:
            answer = await client.post(self._url, json=body)
            result: int | str = answer.status_code
            if result != 200:
                error = json.loads(answer.content)
        except httpx.HTTPError as broken:
            result = type(broken).__name__
        except ValueError:
            pass  # not JSON: whoever asks for a typed error will not find one
        took = time.monotonic() - due
        self.probes.append(Probe(due, sent, took, result, error if isinstance(error, dict) else {}))
        self._open -= 1

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
        deadline = time.monotonic() + WITHIN_S
        while self.counts[200] < target:
            assert time.monotonic() < deadline, f"only {self.counts}"
            time.sleep(0.02)

    @property
    def idle(self) -> bool:
        """Whether no request is in flight."""
        return not self._open and not self._extra

    def burst(self, count: int, body: Mapping[str, Any]) -> None:
        """Send so many more at once, beside those that come at the constant rate."""
        self._extra.extend([body] * count)

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Begins when no request is in flight; what is due before its end is sent then, late."""
        self._hold.set()
        try:
            deadline = time.monotonic() + WITHIN_S
            while not (self._holding and not self._open):
                assert time.monotonic() < deadline, f"{self._open} requests are still in flight"
                time.sleep(0.001)
            yield
        finally:
            self._hold.clear()
