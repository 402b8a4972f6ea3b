"""The route of the audit log: what people did to the endpoints of a namespace.

Mounted by `control/app.py`. Reads the events that `commands.py` commits with each change; the control loop's own are
not in it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from inlet.control.answers import answer
from inlet.control.auth import Guard
from inlet.control.commands import Kind
from inlet.control.openapi import BEARER
from inlet.core.access import Permission
from inlet.store.base import Store
from inlet.wire.v2 import audit

_PAGE: dict[int | str, dict[str, Any]] = {200: {"model": audit.AuditLog}}


def routes(*, guard: Guard, store: Store) -> APIRouter:
    """The route, over these parts."""
    router = APIRouter(dependencies=[BEARER], tags=["observability"])

    @router.get("/v2/audit-logs/{namespace}", responses=_PAGE)
    async def read_audit_log(
        request: Request,
        namespace: str,
        *,
        endpoint: str | None = None,
        username: str | None = None,
        limit: Annotated[int, Query(ge=1, le=audit.MAX_LIMIT)] = audit.DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Response:
        """What people did, newest first, to one endpoint or to all; `username` is the name of a token."""
        caller = await guard(request)
        caller.require(Permission.READ, namespace, endpoint)
        await guard.exists(namespace)
        found = await store.search_events(
            namespace,
            tuple(Kind),
            endpoint=endpoint,
            actor=username,
            before=None if cursor is None else audit.read_cursor(cursor),
            limit=limit + 1,
        )
        page = found[:limit]
        body: dict[str, Any] = {"list": [audit.render_entry(position, event) for position, event in page]}
        if len(found) > limit:
            body["next_cursor"] = str(page[-1][0])
        return answer(body)

    return router
