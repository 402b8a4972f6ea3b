"""What this router saw, told to control once a second, and at once when a request begins to wait.

Reads the loads of `gate.py`. A report that control did not take loses nothing: what it counted is counted again in
the next one.
"""

from __future__ import annotations

import asyncio
import secrets

import structlog

from inlet.core.routes import Signal, Signals
from inlet.router.ask import ask
from inlet.router.gate import Gate, Load
from inlet.router.table import FIRST_RETRY_S
from inlet.router.upstream import Peer
from inlet.wire.link import SIGNALS_PATH, dump_signals

log = structlog.get_logger()

PERIOD_S = 1.0
ANSWER_WITHIN_S = 5.0


class Reporter:
    """Sends the reports of one router process, for as long as `run` runs."""

    def __init__(self, link: Peer) -> None:
        self._link = link
        self._router_id = secrets.token_hex(8)
        self._urgent = asyncio.Event()
        self._told: frozenset[str] = frozenset()  # endpoints that were not at rest in the last report

    def hurry(self) -> None:
        """Something began to wait: report now."""
        self._urgent.set()

    async def run(self, gate: Gate) -> None:
        """Report for ever; after a failure the next try comes quickly at first."""
        pause = FIRST_RETRY_S
        while True:
            self._urgent.clear()
            try:
                await self._report(gate)
            except OSError as error:
                log.debug("control takes no signals", reason=type(error).__name__, retry_in=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PERIOD_S)
                continue
            pause = FIRST_RETRY_S
            try:
                async with asyncio.timeout(PERIOD_S):
                    await self._urgent.wait()
            except TimeoutError:
                continue

    async def _report(self, gate: Gate) -> None:
        busy = [
            load
            for load in gate.loads.values()
            if load.in_flight or load.waiting or load.requests or load.unmet
        ]
        ids = {load.endpoint_id for load in busy}
        settled = [load for load in gate.loads.values() if load.endpoint_id in self._told - ids]
        sent = [(load, load.unmet, _signal(load)) for load in (*busy, *settled)]
        body = dump_signals(Signals(self._router_id, tuple(signal for _, _, signal in sent)))
        await ask(self._link, b"POST", SIGNALS_PATH.encode(), body=body, within=ANSWER_WITHIN_S)
        for load, unmet, signal in sent:
            load.requests -= signal.requests
            load.unmet -= unmet
        self._told = frozenset(ids)


def _signal(load: Load) -> Signal:
    waiting = load.waiting + load.unmet
    return Signal(load.endpoint_id, load.in_flight, waiting, load.requests, load.last_request_at)
