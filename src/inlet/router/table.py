"""The route table: fetched from control by long poll, indexed, and kept while control is away.

`Index` is what one request looks into; `RoutesLink` replaces it as a whole and wakes those who wait for a change of an
endpoint. Nothing here is on the path of a request that is being forwarded.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import structlog
from pydantic import ValidationError

from inlet.core.access import Token
from inlet.core.routes import Route, RouteTable
from inlet.router.ask import ask
from inlet.router.upstream import Peer
from inlet.wire.link import LONG_POLL_S, ROUTES_PATH, load_table

if TYPE_CHECKING:
    from inlet.router.head import RequestHead
    from inlet.router.plan import Plan

log = structlog.get_logger()

FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 2.0
NO_SPIN_S = 0.5
MARGIN_S = 10.0  # beyond the long poll's own wait, before control is taken to be stuck


class Index:
    """One route table, ready to be asked. Never changed after it was made, but for what others remember with it.

    `passes` is auth.py's: which Authorization values may use which endpoint, and until when. `plans` is plan.py's.
    """

    __slots__ = ("by_host", "by_id", "by_name", "passes", "plans", "tokens", "version")

    def __init__(self, table: RouteTable) -> None:
        self.version = table.version
        self.passes: dict[tuple[bytes | None, str], float] = {}
        self.plans: dict[RequestHead, Plan] = {}
        self.by_id: dict[str, Route] = {route.endpoint_id: route for route in table.routes}
        self.by_host: dict[str, Route] = {r.host.lower().rstrip("."): r for r in table.routes if r.host}
        self.by_name: dict[tuple[bytes, bytes], Route] = {
            (route.namespace.encode(), route.name.encode()): route for route in table.routes
        }
        self.tokens: dict[str, Token] = {token.hash: token for token in table.tokens}


class Table:
    """The present index, and the bell that rings when an endpoint's row in it changes.

    `control_answered` is set by whoever got an answer from control: a table that could not be had may be had now.
    """

    def __init__(self) -> None:
        self.index: Index | None = None
        self.control_answered = asyncio.Event()
        self._bells: dict[str | None, asyncio.Event] = {}
        self._listeners: list[Callable[[Index], None]] = []

    def listen(self, listener: Callable[[Index], None]) -> None:
        """Call `listener` with each new index, before anybody who waits is woken."""
        self._listeners.append(listener)

    def replace(self, table: RouteTable) -> None:
        """Take a new table as the whole truth."""
        before = self.index.by_id if self.index else {}
        self.index = Index(table)
        for listener in self._listeners:
            listener(self.index)
        after = self.index.by_id
        for endpoint_id in [key for key in self._bells if key is not None]:
            if before.get(endpoint_id) != after.get(endpoint_id):
                self.ring(endpoint_id)
        self.ring(None)

    def ring(self, endpoint_id: str | None) -> None:
        """Wake all who wait for this endpoint; None is the bell of "there is a table"."""
        bell = self._bells.pop(endpoint_id, None)
        if bell is not None:
            bell.set()

    async def changed(self, endpoint_id: str | None, within: float) -> None:
        """Return when that bell rings, or after `within` seconds."""
        bell = self._bells.setdefault(endpoint_id, asyncio.Event())
        try:
            async with asyncio.timeout(within):
                await bell.wait()
        except TimeoutError:
            return


class RoutesLink:
    """Keeps a `Table` up to date over the link, for as long as `run` runs."""

    def __init__(self, link: Peer, table: Table) -> None:
        self._link = link
        self._table = table

    async def run(self) -> None:
        """Poll for ever; a failure keeps the last table and tries again, quickly at first."""
        pause = FIRST_RETRY_S
        while True:
            try:
                await self._poll()
            except (OSError, ValidationError) as error:
                log.warning("no route table from control", reason=type(error).__name__, retry_in=pause)
                await self._rest(pause)
                pause = min(pause * 2, LONGEST_RETRY_S)
            else:
                pause = FIRST_RETRY_S

    async def _rest(self, pause: float) -> None:
        # Whoever sees its change taken by a control that is back may use it at once.
        self._table.control_answered.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._table.control_answered.wait()

    async def _poll(self) -> None:
        index = self._table.index
        target = ROUTES_PATH + (f"?{urlencode({'after': index.version})}" if index else "")
        asked_at = time.monotonic()
        status, body = await ask(self._link, b"GET", target.encode(), within=LONG_POLL_S + MARGIN_S)
        table = load_table(body) if status == HTTPStatus.OK else None
        if table is None or (index is not None and table.version == index.version):
            if time.monotonic() - asked_at < LONG_POLL_S / 2:
                await asyncio.sleep(NO_SPIN_S)  # control did not wait: it is ending, perhaps
            return
        self._table.replace(table)
        log.info("route table", version=table.version, endpoints=len(table.routes))
