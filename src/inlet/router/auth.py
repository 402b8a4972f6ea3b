"""Who is asking: a bearer token, looked up by its hash among those of the route table.

Called by `plan.py` for an endpoint and by `local.py` for the metrics. Control checks its own callers. Must never
log a token, or keep one in clear beyond the small caches here and the heads that `head.py` remembers.
"""

from __future__ import annotations

import math
import time
from functools import lru_cache

from inlet.core.access import Grant, Token, hash_token, may_infer
from inlet.core.errors import Forbidden, Unauthenticated
from inlet.core.routes import Route
from inlet.core.spec import Visibility
from inlet.router.table import Index

_MAX_TOKEN = 512  # so that the cache of hashes stays small, whatever callers send
_MAX_PASSES = 4096


@lru_cache(maxsize=2048)
def _hash(authorization: bytes) -> str | None:
    """The hash of the token in an Authorization value; None when there is no bearer token in it."""
    scheme, _, token = authorization.partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() != b"bearer" or not token or not token.isascii():
        return None
    return hash_token(token.decode("ascii"))


def grants_of(index: Index, authorization: bytes | None) -> tuple[Grant, ...] | None:
    """What the caller may do; None without a live token."""
    token = _token_of(index, authorization)
    return None if token is None else token.grants


def _token_of(index: Index, authorization: bytes | None) -> Token | None:
    if authorization is None or len(authorization) > _MAX_TOKEN:
        return None
    key = _hash(authorization)
    token = None if key is None else index.tokens.get(key)
    return token if token is not None and token.live(time.time()) else None


def authorise(index: Index, route: Route, authorization: bytes | None) -> float:
    """Until when the caller may use this endpoint, in seconds since the epoch; else `Unauthenticated` or `Forbidden`.

    Who passed once passes again with the same table, as long as the token lives, without a second look.
    """
    if route.visibility is Visibility.PUBLIC:
        return math.inf
    until = index.passes.get((authorization, route.endpoint_id), 0.0)
    if time.time() < until:
        return until
    token = _token_of(index, authorization)
    if token is None:
        raise Unauthenticated("a live token is needed: send it as 'Authorization: Bearer …'")
    if not may_infer(token.grants, route.visibility, route.namespace, route.name):
        raise Forbidden(f"this token lacks the permission infer on {route.namespace}/{route.name}")
    until = math.inf if token.expires_at is None else token.expires_at
    if len(index.passes) < _MAX_PASSES:
        index.passes[authorization, route.endpoint_id] = until
    return until
