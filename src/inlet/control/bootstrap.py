"""The first start of an installation: schema, first namespace, first token, the context file of this machine.

Called by `inlet up` before control starts, and by control itself (which has no terminal to print a token to). Every
part is repeated harmlessly at each start. Must never print: what a person should see is answered to the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from inlet import process
from inlet.control.election import LOOKS_EVERY_S, NOBODY, TAKES_AFTER_S
from inlet.control.tokens import mint
from inlet.core.access import Grant, Permission, Token, hash_token
from inlet.core.errors import Conflict, Invalid, Refused
from inlet.core.routes import RESERVED_SEGMENTS
from inlet.settings import Settings
from inlet.store.base import Store
from inlet.wire.v2.documents import NAME_PATTERN

FIRST_TOKEN_NAME = "first admin token"  # noqa: S105 (a name, not a value)
CONTEXT_TOKEN_NAME = "command line on this machine"  # noqa: S105
_ADMIN = (Grant(Permission.ADMIN),)


def preset_token(settings: Settings) -> Token | None:
    """The admin token that `INLET_TOKEN` presets, valid while it is set; never stored."""
    if not settings.token:
        return None
    if len(settings.token) < 16:
        raise Invalid("is too short to be safe: use at least 16 characters", field="INLET_TOKEN")
    return Token(
        id="preset", name="INLET_TOKEN", hash=hash_token(settings.token), grants=_ADMIN, created_at=0.0
    )


async def ensure_namespace(store: Store, settings: Settings, now: float) -> str:
    """Make the first namespace, once; answers the first, which the setting does not change any more."""
    known = await store.list_namespaces()
    if known:
        return known[0]
    if re.fullmatch(NAME_PATTERN, settings.namespace) is None:
        raise Invalid(
            f"{settings.namespace!r} is not a name of 1 to 32 lower-case letters, digits and '-'",
            field="INLET_NAMESPACE",
        )
    if settings.namespace in RESERVED_SEGMENTS:
        raise Invalid(f"{settings.namespace!r} is a reserved word: choose another", field="INLET_NAMESPACE")
    with contextlib.suppress(Conflict):  # another control on the same database has been quicker
        await store.add_namespace(settings.namespace, now)
    return (await store.list_namespaces())[0]


async def refuse_while_led(
    store: Store, me: str, *, rest: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """`Refused` while a control other than `me` leads on this database: it has the key that is about to be given up.

    Takes as long as another may need to show that it is there, unless none has the lease.
    """
    first = await store.get_lease()
    for _ in range(math.ceil(TAKES_AFTER_S / LOOKS_EVERY_S)):
        lease = await store.get_lease()
        if lease is None or lease.holder in (NOBODY, me):
            return
        if lease != first:
            raise Refused(
                f"a control on this database has the present key: take it from there ({lease.url}), or stop it first"
            )
        await rest(LOOKS_EVERY_S)


async def first_token(store: Store, settings: Settings, clock: Callable[[], float]) -> str | None:
    """A fresh admin token if there is no other way in yet, else None."""
    people = [t for t in await store.list_tokens() if t.name != CONTEXT_TOKEN_NAME]
    if people or settings.token:
        return None
    value, token = mint(FIRST_TOKEN_NAME, _ADMIN, clock())
    await store.add_token(token)
    return value


async def refresh_context(store: Store, settings: Settings, clock: Callable[[], float]) -> str:
    """Leave URL and a token of its own for the command line of this user (0600); answers that token's value."""
    value = _context_token(settings.context_file)
    known = await store.find_token(hash_token(value)) if value else None
    if value is None or known is None or not known.live(clock()):
        value, token = mint(CONTEXT_TOKEN_NAME, _ADMIN, clock())
        await store.add_token(token)
    process.write_private(settings.context_file, json.dumps({"url": settings.near_url, "token": value}))
    return value


def _context_token(path: Path) -> str | None:
    try:
        value = json.loads(path.read_bytes())["token"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or spoilt: a new one is made
    return value if isinstance(value, str) else None
