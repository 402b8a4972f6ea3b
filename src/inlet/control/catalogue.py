"""Routes of the hardware listing: what there is, what it costs, how much of it is in use.

Mounted by `control/app.py`. The first one is public.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inlet.backends.base import Watched
from inlet.control.answers import answer
from inlet.control.auth import Guard
from inlet.control.openapi import BEARER
from inlet.core.access import Permission
from inlet.core.catalogue import Instance
from inlet.store.base import Store
from inlet.wire.v2.provider import Used, render_quotas, render_vendors, used_accelerators


def routes(*, guard: Guard, backend: Watched, store: Store) -> APIRouter:
    """The routes, over these parts."""
    router = APIRouter(tags=["hardware"])

    async def rows_and_use(request: Request, namespace: str) -> tuple[tuple[Instance, ...], Used]:
        caller = await guard(request)
        if not caller.may_see(namespace):
            caller.require(Permission.READ, namespace)
        await guard.exists(namespace)
        rows = tuple(await backend.catalogue())
        return rows, used_accelerators(await store.list_endpoints(namespace), rows)

    @router.get("/v2/provider")
    async def list_vendors() -> Response:
        """Every instance, with its price."""
        return answer(render_vendors(await backend.catalogue(), {}))

    @router.get("/v2/provider/{namespace}", dependencies=[BEARER])
    async def list_vendors_of(request: Request, namespace: str) -> Response:
        """Every instance, with its price and what this namespace uses of it."""
        return answer(render_vendors(*await rows_and_use(request, namespace)))

    @router.get("/v2/provider/quotas/{namespace}", dependencies=[BEARER])
    async def list_quotas(request: Request, namespace: str) -> Response:
        """What this namespace uses of each type of instance."""
        return answer(render_quotas(*await rows_and_use(request, namespace)))

    return router
