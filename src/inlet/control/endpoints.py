"""Routes of endpoints: create, read, list, update, delete, and the lifecycle actions.

Mounted by `control/app.py`. Each asks `auth` first, then `operations` or `commands`, and renders through `views`.
Success is always exactly 200: clients in use take any other status for a failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from inlet.control.answers import answer
from inlet.control.auth import Caller, Guard
from inlet.control.commands import Commands
from inlet.control.openapi import BEARER, body_of
from inlet.control.operations import Operations
from inlet.control.views import Views
from inlet.core.access import Permission
from inlet.core.endpoint import Endpoint
from inlet.wire.v2 import listing, schema
from inlet.wire.v2.documents import Create

_ENDPOINT: dict[int | str, dict[str, Any]] = {200: {"model": schema.Endpoint}}
_LIST: dict[int | str, dict[str, Any]] = {200: {"model": schema.EndpointList}}
_NAMES: dict[int | str, dict[str, Any]] = {200: {"model": schema.NameList}}
_EMPTY: dict[int | str, dict[str, Any]] = {200: {"model": schema.Empty}}


def routes(*, guard: Guard, operations: Operations, commands: Commands, views: Views) -> APIRouter:
    """The routes, over these parts."""
    router = APIRouter(dependencies=[BEARER], tags=["endpoints"])

    @router.get("/v2/endpoint/{namespace}", responses=_LIST)
    async def list_endpoints(
        request: Request,
        namespace: str,
        *,
        tags: str | None = None,
        search: str | None = None,
        type_: Annotated[str | None, Query(alias="type")] = None,
        task: str | None = None,
        state: str | None = None,
        sort_by: Annotated[listing.SortBy, Query(alias="sortBy")] = listing.SortBy.CREATED_AT,
        direction: listing.Direction = listing.Direction.DESC,
        limit: Annotated[int | None, Query(ge=1, le=listing.MAX_LIMIT)] = None,
        cursor: str | None = None,
    ) -> Response:
        """All endpoints of the namespace that the token may read; one page if `limit` or `cursor` is given."""
        caller = await guard(request)
        query = listing.Query(tags, search, type_, task, state, sort_by, direction, limit, cursor)
        page = listing.select(await operations.readable(caller, namespace), query)
        body: dict[str, Any] = {
            "items": [views.render(endpoint) for endpoint in page.items],
            "totalItems": page.total,
        }
        if page.next is not None:
            body["nextCursor"] = page.next
        if page.prev is not None:
            body["prevCursor"] = page.prev
        return answer(body)

    @router.get("/v2/search/{namespace}", responses=_NAMES)
    async def search_endpoints(
        request: Request,
        namespace: str,
        *,
        tags: str | None = None,
        search: str | None = None,
        limit: Annotated[int, Query(ge=1, le=listing.MAX_LIMIT)] = listing.DEFAULT_LIMIT,
    ) -> Response:
        """Names only, in alphabetical order."""
        caller = await guard(request)
        query = listing.Query(
            tags,
            search,
            sort_by=listing.SortBy.NAME,
            direction=listing.Direction.ASC,
            limit=limit,
        )
        page = listing.select(await operations.readable(caller, namespace), query)
        return answer({"items": [{"name": endpoint.name} for endpoint in page.items]})

    @router.post("/v2/endpoint/{namespace}", responses=_ENDPOINT, openapi_extra=body_of(Create))
    async def create_endpoint(request: Request, namespace: str) -> Response:
        """Ask for a new endpoint. The answer comes at once; its state then says how far it is."""
        caller = await guard(request)
        endpoint, warnings = await operations.create(caller, namespace, request)
        return answer(views.render(endpoint), warnings=warnings)

    @router.get("/v2/endpoint/{namespace}/{name}", responses=_ENDPOINT)
    async def get_endpoint(request: Request, namespace: str, name: str) -> Response:
        """One endpoint, with its progress."""
        caller = await guard(request)
        return answer(await views.describe(await operations.find(caller, namespace, name)))

    @router.put(
        "/v2/endpoint/{namespace}/{name}",
        responses=_ENDPOINT,
        openapi_extra=body_of(schema.Update, required=False),
    )
    async def update_endpoint(request: Request, namespace: str, name: str) -> Response:
        """Merge the body into the endpoint; null leaves a field as it is. A change of what runs is rolled out."""
        caller = await guard(request)
        endpoint, warnings = await operations.update(caller, namespace, name, request)
        return answer(views.render(endpoint), warnings=warnings)

    @router.delete("/v2/endpoint/{namespace}/{name}", responses=_EMPTY)
    async def delete_endpoint(request: Request, namespace: str, name: str) -> Response:
        """Stop the endpoint and forget it."""
        caller = await guard(request)
        await operations.delete(caller, namespace, name)
        return answer({})

    def action(path: str, summary: str, run: Callable[[str, str, Caller], Awaitable[Endpoint]]) -> None:
        async def act(request: Request, namespace: str, name: str) -> Response:
            caller = await guard(request)
            caller.require(Permission.WRITE, namespace, name)
            return answer(views.render(await run(namespace, name, caller)))

        router.add_api_route(
            f"/v2/endpoint/{{namespace}}/{{name}}/{path}",
            act,
            methods=["POST"],
            responses=_ENDPOINT,
            summary=summary,
            operation_id=f"{path.replace('-', '_')}_endpoint",
        )

    action("pause", "Stop all replicas until the endpoint is resumed", commands.pause)
    action("resume", "Start a paused, sleeping or failed endpoint", commands.resume)
    action("scale-to-zero", "Stop all replicas until a request comes", commands.scale_to_zero)
    return router
