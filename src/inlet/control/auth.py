"""Who calls, and what they may do.

Asked first by every route but the public ones. Holds only hashes. A caller learns that something does not exist only
if they might have read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from starlette.requests import Request

from inlet.control.answers import request_id
from inlet.core.access import EVERYWHERE, Permission, Token, allows, hash_token
from inlet.core.endpoint import Person
from inlet.core.errors import Forbidden, NotFound, Unauthenticated
from inlet.store.base import Store

# The names that the public API's errors use.
_PUBLIC_NAMES = {
    Permission.READ: "inference.endpoints.read",
    Permission.WRITE: "inference.endpoints.write",
    Permission.INFER: "inference.endpoints.infer.write",
    Permission.ADMIN: "admin",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's live token, and the id of that request."""

    token: Token
    request_id: str

    @property
    def person(self) -> Person:
        """As `createdBy` shows it: 24 hex digits, as clients know them, and the token's name."""
        return Person(id=public_id(self.token.id), name=self.token.name)

    def may(self, permission: Permission, namespace: str, endpoint: str | None = None) -> bool:
        return allows(self.token.grants, permission, namespace, endpoint)

    def require(self, permission: Permission, namespace: str, endpoint: str | None = None) -> None:
        """`Forbidden` unless a grant covers it."""
        if not self.may(permission, namespace, endpoint):
            place = namespace if endpoint is None else f"{namespace}/{endpoint}"
            raise Forbidden(
                f"The token {self.token.name!r} lacks the permission {_PUBLIC_NAMES[permission]} on {place}"
            )

    def may_see(self, namespace: str) -> bool:
        """Whether any grant, be it for a single endpoint, concerns this namespace."""
        return any(grant.namespace in (EVERYWHERE, namespace) for grant in self.token.grants)


class Guard:
    """Turns a request into a `Caller`, or refuses it. `preset` is the token that the settings hold, if any."""

    def __init__(self, *, store: Store, preset: Token | None, clock: Callable[[], float]) -> None:
        self._store, self._preset, self._clock = store, preset, clock

    async def __call__(self, request: Request) -> Caller:
        """`Unauthenticated` without a bearer token that is known and live."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not value.strip():
            raise Unauthenticated("A token is required: send the header Authorization: Bearer <token>")
        digest = hash_token(value.strip())
        if self._preset is not None and self._preset.hash == digest:
            token: Token | None = self._preset
        else:
            token = await self._store.find_token(digest)
        if token is None or not token.live(self._clock()):
            raise Unauthenticated("Invalid token: it is unknown, revoked or expired")
        structlog.contextvars.bind_contextvars(actor=token.name)
        return Caller(token, request_id(request))

    async def namespace(self, caller: Caller, namespace: str, permission: Permission) -> None:
        """The caller has `permission` on all of `namespace`, and it exists."""
        caller.require(permission, namespace)
        await self.exists(namespace)

    async def exists(self, namespace: str) -> None:
        """`NotFound` for an unknown namespace; ask only for a caller who may know."""
        if namespace not in await self._store.list_namespaces():
            raise NotFound(f"There is no namespace {namespace!r}")


def public_id(internal: str) -> str:
    """24 hex digits that stand for one of our ids where clients expect that form."""
    return hashlib.sha256(internal.encode()).hexdigest()[:24]
