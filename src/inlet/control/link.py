"""Control's end of the link: publishes the route table to routers and takes their signals.

`RoutePublisher` is told by the reconciler what is true; `build_link_app` serves it on the 0600 Unix socket that the
router never proxies (its permissions are the only guard, so it must never be served on anything else). Paths and
messages are `wire/link.py`'s.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace

import structlog
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute

from inlet.control.load import LoadBoard
from inlet.core.routes import RouteTable
from inlet.wire import link

log = structlog.get_logger()


class RoutePublisher:
    """The newest route table, and everyone who waits for a newer one."""

    def __init__(self) -> None:
        # A random epoch: a version of an earlier control process never equals one of ours.
        self._epoch, self._count = secrets.token_hex(4), 0
        self._table: RouteTable | None = None
        self._changed = asyncio.Event()
        self._closed = False

    def publish(self, table: RouteTable) -> None:
        """Make `table` (its version is ignored) the newest, if it says anything new."""
        if self._table is not None and replace(table, version=self._table.version) == self._table:
            return
        self._count += 1
        self._table = replace(table, version=f"{self._epoch}-{self._count}")
        self._wake()

    def close(self) -> None:
        """Let every waiting router go, so that the process can end."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def newer_than(self, version: str | None, *, wait: float) -> RouteTable | None:
        """The table once its version differs from `version`; None after `wait` seconds or when closing."""
        try:
            async with asyncio.timeout(wait):
                while not self._closed and (self._table is None or self._table.version == version):
                    await self._changed.wait()
        except TimeoutError:
            return None
        return None if self._closed else self._table


def build_link_app(
    *,
    publisher: RoutePublisher,
    board: LoadBoard,
    wake: Callable[[], None],
    stop: Callable[[], None],
    clock: Callable[[], float],
) -> Starlette:
    """The ASGI app of the link socket. `wake` runs the control loop, `stop` ends this process and all replicas."""

    async def routes(request: Request) -> Response:
        table = await publisher.newer_than(request.query_params.get("after"), wait=link.LONG_POLL_S)
        if table is None:
            return Response(status_code=204)
        return Response(link.dump_table(table), media_type="application/json")

    async def signals(request: Request) -> Response:
        try:
            report = link.load_signals(await request.body())
        except ValidationError:
            log.warning("signals_refused")
            return JSONResponse({"error": "not a report of signals"}, status_code=400)
        if board.record(report, clock()):
            wake()
        return Response(status_code=204)

    async def stop_all(_: Request) -> Response:
        stop()
        return Response(status_code=204)

    return Starlette(
        routes=[
            HttpRoute(link.ROUTES_PATH, routes),
            HttpRoute(link.SIGNALS_PATH, signals, methods=["POST"]),
            HttpRoute(link.STOP_PATH, stop_all, methods=["POST"]),
        ]
    )
