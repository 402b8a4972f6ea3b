"""The router's own pages on the base host: `/healthz`, `/readyz` and `/metrics`.

Called by `forward.py`. Their answers are for machines and say nothing of endpoints that the reader may not see.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from inlet.core.access import Permission, allows
from inlet.core.errors import Forbidden, Unauthenticated
from inlet.router.ask import ask
from inlet.router.auth import grants_of
from inlet.router.gate import Gate
from inlet.router.head import RequestHead
from inlet.router.metrics import page
from inlet.router.refusals import Refusals
from inlet.router.table import Table
from inlet.router.upstream import Peer

CONTROL_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of ours."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"


class Local:
    """Answers the router's own pages."""

    def __init__(
        self,
        *,
        control: Peer,
        table: Table,
        gate: Gate,
        refusals: Refusals,
        connections: Callable[[], int],
    ) -> None:
        self._control = control
        self._table = table
        self._gate = gate
        self._refusals = refusals
        self._connections = connections

    async def answer(self, path: bytes, head: RequestHead) -> Page:
        """The page at `path`; `Unauthenticated` or `Forbidden` for metrics without a token that may read."""
        if path == b"/healthz":
            return Page(200, b'{"status":"ok"}')
        if path == b"/readyz":
            return await self._readiness()
        return Page(200, self._metrics(head), b"text/plain; version=0.0.4; charset=utf-8")

    async def _readiness(self) -> Page:
        answers, obstacle = await self._ask_control()
        checks = {"route_table": self._table.index is not None, "control": answers}
        if all(checks.values()) and obstacle is None:
            return Page(200, b'{"status":"ready"}')
        return Page(503, orjson.dumps({"error": obstacle or "not ready", "checks": checks}))

    async def _ask_control(self) -> tuple[bool, str | None]:
        """Whether control answers, and what keeps us from serving as far as it knows."""
        try:
            _, body = await ask(self._control, b"GET", b"/healthz", within=CONTROL_TIMEOUT_S)
        except OSError:
            return False, None
        self._table.control_answered.set()
        with contextlib.suppress(ValueError, AttributeError):  # any answer shows that control is there
            return True, orjson.loads(body).get("obstacle")
        return True, None

    def _metrics(self, head: RequestHead) -> bytes:
        index = self._table.index
        grants = None if index is None else grants_of(index, head.authorization)
        if grants is None:
            raise Unauthenticated("metrics need a live token with the permission read")
        if not any(allows((g,), Permission.READ, g.namespace, g.endpoint) for g in grants):
            raise Forbidden("this token lacks the permission read")
        loads = [
            load
            for load in self._gate.loads.values()
            if allows(grants, Permission.READ, load.namespace, load.name)
        ]
        return page(loads, self._refusals.by_status, self._connections())
