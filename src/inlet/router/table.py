"""The route table: fetched from control by long poll, indexed, and kept while control is away.

`Index` is what one request looks into; `RoutesLink` replaces it as a whole and wakes those who wait for a change of an
endpoint. Nothing here is on the path of a request that is being forwarded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import structlog
from pydantic import ValidationError

from inlet.core.access import Token
from inlet.core.routes import Route, RouteTable
from inlet.wire.link import LONG_POLL_S, ROUTES_PATH, load_table

log = structlog.get_logger()

FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 2.0


class Index:
    """One route table, ready to be asked. Never changed after it was made."""

    __slots__ = ("by_host", "by_id", "by_name", "tokens", "version")

    def __init__(self, table: RouteTable) -> None:
        self.version = table.version
        self.by_id: dict[str, Route] = {route.endpoint_id: route for route in table.routes}
        self.by_host: dict[str, Route] = {r.host.lower().rstrip("."): r for r in table.routes if r.host}
        self.by_name: dict[tuple[bytes, bytes], Route] = {
            (route.namespace.encode(), route.name.encode()): route for route in table.routes
        }
        self.tokens: dict[str, Token] = {token.hash: token for token in table.tokens}


class Table:
    """The present index, and the bell that rings when an endpoint's row in it changes."""

    def __init__(self) -> None:
        self.index: Index | None = None
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
    """Keeps a `Table` up to date over the link's socket, for as long as `run` runs."""

    def __init__(self, socket: Path, table: Table) -> None:
        self._socket = socket
        self._table = table

    async def run(self) -> None:
        """Poll for ever; a failure keeps the last table and tries again, quickly at first."""
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
        timeout = httpx.Timeout(5.0, read=LONG_POLL_S + 10.0)
        pause = FIRST_RETRY_S
        async with httpx.AsyncClient(transport=transport, base_url="http://link", timeout=timeout) as client:
            while True:
                try:
                    await self._poll(client)
                except (httpx.HTTPError, ValidationError) as error:
                    log.warning("no route table from control", reason=type(error).__name__, retry_in=pause)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_RETRY_S)
                else:
                    pause = FIRST_RETRY_S

    async def _poll(self, client: httpx.AsyncClient) -> None:
        index = self._table.index
        asked_at = time.monotonic()
        answer = await client.get(ROUTES_PATH, params={"after": index.version} if index else None)
        answer.raise_for_status()
        table = None if answer.status_code == httpx.codes.NO_CONTENT else load_table(answer.content)
        if table is None or (index is not None and table.version == index.version):
            if time.monotonic() - asked_at < LONG_POLL_S / 2:
                await asyncio.sleep(
                    LONGEST_RETRY_S / 2
                )  # control did not wait (it is ending, perhaps): do not spin
            return
        self._table.replace(table)
        log.info("route table", version=table.version, endpoints=len(table.routes))
