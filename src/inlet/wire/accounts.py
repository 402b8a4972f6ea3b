"""Inlet's own API of tokens and namespaces (`/api/inlet/`), which the public API lacks: shapes and answers.

Called by `control/accounts.py`. A token's value appears in one answer only: the one to the request that made it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from inlet.core.access import EVERYWHERE, Grant, Permission, Token
from inlet.wire.v2 import timestamp
from inlet.wire.v2.documents import NAME_PATTERN, ONE_LINE_PATTERN

MAX_DAYS = 3650


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class TokenGrant(_Shape):
    """One permission, on all namespaces (`*`), on one, or on one endpoint of one."""

    permission: Literal["read", "write", "infer", "admin"]
    namespace: Annotated[str, Field(pattern=r"^(\*|[a-z0-9-]{1,32})$")] = EVERYWHERE
    endpoint: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None


class NewToken(_Shape):
    """A request for a token."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=ONE_LINE_PATTERN)]
    permissions: Annotated[list[TokenGrant], Field(min_length=1, max_length=64)]
    expires_in_days: Annotated[float, Field(gt=0, le=MAX_DAYS, allow_inf_nan=False)] | None = None

    def grants(self) -> tuple[Grant, ...]:
        """The permissions as grants."""
        return tuple(Grant(Permission(p.permission), p.namespace, p.endpoint) for p in self.permissions)


class NewNamespace(_Shape):
    """A request for a namespace."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]


def render_token(token: Token) -> dict[str, Any]:
    """A token without its value."""
    return {
        "id": token.id,
        "name": token.name,
        "permissions": [
            {"permission": grant.permission.value, "namespace": grant.namespace, "endpoint": grant.endpoint}
            for grant in token.grants
        ],
        "createdAt": timestamp(token.created_at),
        "expiresAt": None if token.expires_at is None else timestamp(token.expires_at),
        "revokedAt": None if token.revoked_at is None else timestamp(token.revoked_at),
    }
