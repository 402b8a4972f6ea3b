"""Making tokens: the one place where a token's value exists, on its way to the person who asked for it.

Called by the routes of tokens and by the first start. Must never store or log a value.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from inlet.core.access import Grant, Token, hash_token

PREFIX = "inl_"
"""How a token of ours begins, so that scanners for leaked secrets (and `launch.py`) can know it."""


def mint(
    name: str, grants: Iterable[Grant], now: float, expires_at: float | None = None
) -> tuple[str, Token]:
    """A fresh value (shown once, 256 random bits) and the record to store."""
    value = PREFIX + secrets.token_urlsafe(32)
    token = Token(
        id=secrets.token_hex(8),
        name=name,
        hash=hash_token(value),
        grants=tuple(grants),
        created_at=now,
        expires_at=expires_at,
    )
    return value, token
