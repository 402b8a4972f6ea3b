"""Who may do what: tokens, grants and the one question asked of them.

Asked by `control/auth.py` and by `router/auth.py`; both hold only hashes. Must never see a token in clear, except in
`hash_token`, whose result is what is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from inlet.core.spec import Visibility

EVERYWHERE = "*"


class Permission(StrEnum):
    """`write` includes `read`; `admin` includes all and is the one that manages tokens and namespaces."""

    READ = "read"
    WRITE = "write"
    INFER = "infer"
    ADMIN = "admin"


_INCLUDES: dict[Permission, frozenset[Permission]] = {
    Permission.READ: frozenset({Permission.READ}),
    Permission.WRITE: frozenset({Permission.READ, Permission.WRITE}),
    Permission.INFER: frozenset({Permission.INFER}),
    Permission.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission on a namespace (`*`: all of them), or on a single endpoint of it."""

    permission: Permission
    namespace: str = EVERYWHERE
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept: never its value, only the hash. Times in seconds since the epoch."""

    id: str
    name: str
    hash: str
    grants: tuple[Grant, ...]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def live(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def hash_token(value: str) -> str:
    """SHA-256 in hex. A token has 256 random bits, so a slow, salted hash would protect nothing more."""
    return hashlib.sha256(value.encode()).hexdigest()


def allows(
    grants: Iterable[Grant], permission: Permission, namespace: str, endpoint: str | None = None
) -> bool:
    """Whether any grant covers `permission` on this namespace, or on this endpoint of it."""
    return any(
        permission in _INCLUDES[grant.permission]
        and grant.namespace in (EVERYWHERE, namespace)
        and (grant.endpoint is None or grant.endpoint == endpoint)
        for grant in grants
    )


def may_infer(grants: Iterable[Grant] | None, visibility: Visibility, namespace: str, endpoint: str) -> bool:
    """Whether a caller may use an endpoint's data plane; `grants` is None for a caller without a live token."""
    if visibility is Visibility.PUBLIC:
        return True
    if grants is None:
        return False
    if visibility is Visibility.AUTHENTICATED:
        return any(Permission.INFER in _INCLUDES[grant.permission] for grant in grants)
    return allows(grants, Permission.INFER, namespace, endpoint)
