"""One router, put together: the parts of `context.py`, the listening socket, and the tasks that run beside it.

Called by `__main__.py`, and by tests with a socket of their own.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from inlet.router.balance import Balance
from inlet.router.context import Context
from inlet.router.gate import Gate
from inlet.router.local import Local
from inlet.router.refusals import Refusals
from inlet.router.server import ClientConnection, Connections
from inlet.router.signals import Reporter
from inlet.router.table import Index, RoutesLink, Table
from inlet.router.upstream import Peer
from inlet.settings import Settings

log = structlog.get_logger()

BACKLOG = 4096
LONGEST_SWEEP_S = 1.0


class Router:
    """The data plane of one process."""

    def __init__(self, settings: Settings) -> None:
        """Needs a running event loop."""
        self._settings = settings
        self._connections = Connections()
        self._link = Peer("link", f"unix:{settings.link_socket}")
        self._reporter = Reporter(self._link)
        control = Peer("control", f"unix:{settings.control_socket}")
        table, refusals = Table(), Refusals()
        gate = Gate(
            max_pending=settings.max_pending,
            on_wait=self._reporter.hurry,
        )
        self.context = Context(
            settings=settings,
            loop=asyncio.get_running_loop(),
            table=table,
            balance=Balance(),
            gate=gate,
            refusals=refusals,
            local=Local(
                control=control,
                table=table,
                gate=gate,
                refusals=refusals,
                connections=lambda: len(self._connections.open),
            ),
            control=control,
            scheme=settings.url.partition("://")[0].encode(),
        )
        table.listen(self._follow)

    @asynccontextmanager
    async def serving(self, listening: socket.socket) -> AsyncIterator[None]:
        """Answer on `listening` until the block ends; then finish what is in flight, for `drain_seconds` at most."""
        context = self.context
        async with asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(RoutesLink(self._link, context.table).run()),
                tasks.create_task(self._reporter.run(context.gate)),
                tasks.create_task(self._sweep()),
            ]
            server = await context.loop.create_server(
                lambda: ClientConnection(context, self._connections), sock=listening, backlog=BACKLOG
            )
            try:
                yield
            finally:
                server.close()
                await self._drain()
                for task in beside:
                    task.cancel()
                for peer in (*context.balance.all(), context.control, self._link):
                    peer.retire()

    async def _drain(self) -> None:
        for connection in list(self._connections.open):
            connection.drain()
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                await self._connections.all_closed()
        except TimeoutError:
            log.warning("ending with requests in flight", connections=len(self._connections.open))
            for connection in list(self._connections.open):
                connection.abort()

    def _follow(self, index: Index) -> None:
        self.context.balance.replace(index)
        self.context.gate.forget(frozenset(index.by_id))

    async def _sweep(self) -> None:
        """Look at every deadline now and then: far cheaper than a timer for each request."""
        settings, loop = self._settings, self.context.loop
        limits = (settings.head_timeout, settings.body_timeout, settings.answer_timeout or math.inf)
        period = min(LONGEST_SWEEP_S, min(limits) / 4)
        while True:
            await asyncio.sleep(period)
            now = loop.time()
            for connection in list(self._connections.open):
                connection.check_deadline(now)
            for peer in (*self.context.balance.all(), self.context.control):
                peer.close_stale(now)
            self.context.refusals.flush(now)
