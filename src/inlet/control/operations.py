"""What a caller may ask of endpoints: the permission first, then the command or the look.

Used by the routes of every version of the API (`endpoints.py`: v2, `v1.py`), which differ in paths, in how the
namespace is found and in the form of a few answers. Must never decide anything by version.
"""

from __future__ import annotations

from starlette.requests import Request

from inlet.control.answers import json_object
from inlet.control.auth import Caller, Guard
from inlet.control.commands import Commands, Warnings
from inlet.core.access import Permission
from inlet.core.endpoint import Endpoint
from inlet.store.base import Store


class Operations:
    """The operations, over these parts. Each is refused with `Forbidden` before it tells or does anything."""

    def __init__(self, *, guard: Guard, commands: Commands, store: Store) -> None:
        self._guard, self._commands, self._store = guard, commands, store

    async def readable(self, caller: Caller, namespace: str) -> list[Endpoint]:
        """The endpoints of a namespace that this caller may read; refused if they could not read any."""
        if not any(caller.may(Permission.READ, namespace, grant.endpoint) for grant in caller.token.grants):
            caller.require(Permission.READ, namespace)
        await self._guard.exists(namespace)
        return [
            endpoint
            for endpoint in await self._store.list_endpoints(namespace)
            if caller.may(Permission.READ, namespace, endpoint.name)
        ]

    async def find(self, caller: Caller, namespace: str, name: str) -> Endpoint:
        """One endpoint, to look at."""
        caller.require(Permission.READ, namespace, name)
        return await self._commands.find(namespace, name)

    async def create(self, caller: Caller, namespace: str, request: Request) -> tuple[Endpoint, Warnings]:
        """The endpoint that the request's body describes."""
        # A token for a single endpoint may make it (again), but nothing beside it: the name decides.
        if not caller.may_see(namespace):
            caller.require(Permission.WRITE, namespace)
        body = await json_object(request)
        name = body.get("name")
        caller.require(Permission.WRITE, namespace, name if isinstance(name, str) else None)
        await self._guard.exists(namespace)
        return await self._commands.create(namespace, body, caller)

    async def update(
        self, caller: Caller, namespace: str, name: str, request: Request
    ) -> tuple[Endpoint, Warnings]:
        """The request's body merged into the endpoint."""
        caller.require(Permission.WRITE, namespace, name)
        return await self._commands.update(namespace, name, await json_object(request), caller)

    async def delete(self, caller: Caller, namespace: str, name: str) -> None:
        """Stop the endpoint and forget it."""
        caller.require(Permission.WRITE, namespace, name)
        await self._commands.delete(namespace, name, caller)
