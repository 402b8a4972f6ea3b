"""Routes of the older API (v1), the only one that the `hugie` tool speaks.

Mounted by `control/app.py`. A dialect of v2 and nothing more: the same operations, objects and errors. Its paths have
no namespace: it is the token's own.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inlet.backends.base import Watched
from inlet.control.answers import answer
from inlet.control.auth import Caller, Guard
from inlet.control.observability import text_of
from inlet.control.openapi import BEARER, body_of
from inlet.control.operations import Operations
from inlet.control.views import Views
from inlet.store.base import Store
from inlet.wire import v1
from inlet.wire.hub import own_namespace
from inlet.wire.v2 import schema
from inlet.wire.v2.documents import Create
from inlet.wire.v2.provider import render_vendors

_ENDPOINT: dict[int | str, dict[str, Any]] = {200: {"model": schema.Endpoint}}
_LIST: dict[int | str, dict[str, Any]] = {200: {"model": v1.Endpoints}}
_EMPTY: dict[int | str, dict[str, Any]] = {200: {"model": schema.Empty}}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}
_CREATED = 202
_MADE: dict[int | str, dict[str, Any]] = {_CREATED: {"model": schema.Endpoint}}


def routes(
    *, guard: Guard, operations: Operations, views: Views, backend: Watched, store: Store
) -> APIRouter:
    """The routes, over these parts."""
    router = APIRouter()
    endpoints = APIRouter(prefix="/endpoint", dependencies=[BEARER], tags=["endpoints, v1"])
    hardware = APIRouter(prefix="/provider", tags=["hardware, v1"])

    async def asked(request: Request) -> tuple[Caller, str]:
        """Who calls, and their own namespace."""
        caller = await guard(request)
        return caller, own_namespace(caller.token, await store.list_namespaces())

    @endpoints.get("", responses=_LIST)
    async def list_own_endpoints(request: Request) -> Response:
        """All endpoints of the token's own namespace that it may read."""
        readable = await operations.readable(*await asked(request))
        return answer(v1.render_list([views.render(endpoint) for endpoint in readable]))

    @endpoints.post("", status_code=_CREATED, responses=_MADE, openapi_extra=body_of(Create))
    async def create_own_endpoint(request: Request) -> Response:
        """Ask for a new endpoint; the answer has status 202."""
        endpoint, warnings = await operations.create(*await asked(request), request)
        return answer(views.render(endpoint), status=_CREATED, warnings=warnings)

    @endpoints.get("/{name}", responses=_ENDPOINT)
    async def get_own_endpoint(request: Request, name: str) -> Response:
        """One endpoint, with its progress."""
        return answer(await views.describe(await operations.find(*await asked(request), name)))

    @endpoints.put("/{name}", responses=_ENDPOINT, openapi_extra=body_of(schema.Update, required=False))
    async def update_own_endpoint(request: Request, name: str) -> Response:
        """Merge the body into the endpoint; null leaves a field as it is."""
        endpoint, warnings = await operations.update(*await asked(request), name, request)
        return answer(views.render(endpoint), warnings=warnings)

    @endpoints.delete("/{name}", responses=_EMPTY)
    async def delete_own_endpoint(request: Request, name: str) -> Response:
        """Stop the endpoint and forget it."""
        await operations.delete(*await asked(request), name)
        return answer({})

    @endpoints.get("/{name}/logs", responses=_TEXT)
    async def read_own_logs(request: Request, name: str) -> Response:
        """The output of all replicas, as text."""
        endpoint = await operations.find(*await asked(request), name)
        return await text_of(backend, endpoint)

    async def vendors() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = render_vendors(await backend.catalogue(), {})["vendors"]
        return listed

    @hardware.get("")
    async def list_hardware_vendors() -> Response:
        """Every vendor, with its regions and instances."""
        return answer(v1.render_list(await vendors()))

    @hardware.get("/{vendor}/region")
    async def list_hardware_regions(vendor: str) -> Response:
        """The regions of a vendor, with their instances."""
        return answer(v1.render_list(v1.regions(await vendors(), vendor)))

    @hardware.get("/{vendor}/region/{region}/compute")
    async def list_hardware_computes(vendor: str, region: str) -> Response:
        """The instances of a region, with their prices."""
        return answer(v1.render_list(v1.computes(await vendors(), vendor, region)))

    router.include_router(endpoints)
    router.include_router(hardware)
    return router
