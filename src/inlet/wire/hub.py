"""The one call of the Hub's own API that clients make to us: who a token belongs to.

Called by `control/accounts.py`, and by `control/v1.py` for the namespace. Inlet has no user accounts: a token stands for a
person whose own namespace is the first that its grants name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inlet.core.access import EVERYWHERE, Grant, Permission, Token, allows
from inlet.wire.v2 import timestamp

_PERMISSIONS = {
    Permission.READ: ("inference.endpoints.read",),
    Permission.WRITE: ("inference.endpoints.read", "inference.endpoints.write"),
    Permission.INFER: ("inference.endpoints.infer.write",),
    Permission.ADMIN: (
        "inference.endpoints.read",
        "inference.endpoints.write",
        "inference.endpoints.infer.write",
    ),
}


def visible_namespaces(token: Token, namespaces: Sequence[str]) -> list[str]:
    """The namespaces that a token can see, its own first; `namespaces` are all, the default first."""
    granted = [grant.namespace for grant in token.grants]
    if EVERYWHERE in granted:
        return list(namespaces)
    return [name for name in dict.fromkeys(granted) if name in namespaces]


def own_namespace(token: Token, namespaces: Sequence[str]) -> str:
    """The namespace of a token's person: where calls go that name none."""
    return (visible_namespaces(token, namespaces) or namespaces)[0]


def render_whoami(token: Token, namespaces: Sequence[str], *, id_: str) -> dict[str, Any]:
    """The answer of whoami; `id_` is the public id of the token's person."""
    name = own_namespace(token, namespaces)
    others = [other for other in visible_namespaces(token, namespaces) if other != name]
    role = _role(token)
    access: dict[str, Any] = {
        "displayName": token.name,
        "role": role,
        "createdAt": timestamp(token.created_at),
    }
    if role == "fineGrained":
        access["fineGrained"] = {
            "scoped": [_scope(grant, name) for grant in token.grants],
            "global": [],
            "canReadGatedRepos": False,
        }
    auth: dict[str, Any] = {"type": "access_token", "accessToken": access}
    if token.expires_at is not None:
        auth["expiresAt"] = timestamp(token.expires_at)
    return {
        "type": "user",
        "id": id_,
        "name": name,
        "fullname": token.name,
        "avatarUrl": "",
        "isPro": False,
        "canPay": True,
        "orgs": [_org(other, token) for other in others],
        "auth": auth,
    }


def _role(token: Token) -> str:
    """`write` and `read` are roles on everything; anything narrower is fine-grained."""
    if allows(token.grants, Permission.WRITE, EVERYWHERE) and allows(
        token.grants, Permission.INFER, EVERYWHERE
    ):
        return "write"
    if allows(token.grants, Permission.READ, EVERYWHERE) and len(token.grants) == 1:
        return "read"
    return "fineGrained"


def _scope(grant: Grant, own: str) -> dict[str, Any]:
    place = grant.namespace if grant.endpoint is None else f"{grant.namespace}/{grant.endpoint}"
    return {
        "entity": {
            "_id": place,
            "type": "user" if grant.namespace in (EVERYWHERE, own) else "org",
            "name": place,
        },
        "permissions": list(_PERMISSIONS[grant.permission]),
    }


def _org(namespace: str, token: Token) -> dict[str, Any]:
    role = next(
        (
            role
            for permission, role in (
                (Permission.ADMIN, "admin"),
                (Permission.WRITE, "write"),
                (Permission.READ, "read"),
            )
            if allows(token.grants, permission, namespace)
        ),
        "no_access",
    )
    return {
        "type": "org",
        "id": namespace,
        "name": namespace,
        "fullname": namespace,
        "avatarUrl": "",
        "roleInOrg": role,
    }
