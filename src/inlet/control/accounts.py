"""Routes of tokens, namespaces and whoami.

Mounted by `control/app.py`. Nobody can give more than they have, nor for longer: a token is made, seen and revoked by
whoever is admin of everything that it may do. A token's value is answered once and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inlet.control.answers import answer, json_object
from inlet.control.auth import Caller, Guard, public_id
from inlet.control.openapi import BEARER, body_of
from inlet.control.tokens import mint
from inlet.core.access import EVERYWHERE, Permission, Token
from inlet.core.errors import Forbidden, Invalid, NotFound
from inlet.core.routes import RESERVED_SEGMENTS
from inlet.store.base import Store
from inlet.wire.accounts import NewNamespace, NewToken, render_token
from inlet.wire.hub import render_whoami, visible_namespaces
from inlet.wire.v2.shape import check_text, validate

log = structlog.get_logger()

_DAY_S = 86_400.0


def routes(
    *, guard: Guard, store: Store, wake: Callable[[str | None], None], clock: Callable[[], float]
) -> APIRouter:
    """The routes, over these parts. `wake(None)` tells the control loop that tokens changed."""
    router = APIRouter(dependencies=[BEARER], tags=["accounts"])

    @router.get("/api/whoami-v2")
    async def whoami(request: Request) -> Response:
        """Who the token belongs to, and the namespaces that it can see."""
        caller = await guard(request)
        namespaces = await store.list_namespaces()
        return answer(render_whoami(caller.token, namespaces, id_=public_id(caller.token.id)))

    @router.post("/api/inlet/tokens", openapi_extra=body_of(NewToken))
    async def create_token(request: Request) -> Response:
        """Make a token; `token` in the answer is its value, which is shown this once."""
        caller = await _admin(guard, request)
        body = await json_object(request)
        check_text(body)
        wanted = validate(NewToken, body)
        known = await store.list_namespaces()
        for index, grant in enumerate(wanted.grants()):
            caller.require(Permission.ADMIN, grant.namespace, grant.endpoint)
            if grant.namespace != EVERYWHERE and grant.namespace not in known:
                raise Invalid(
                    f"there is no namespace {grant.namespace!r}", field=f"permissions.{index}.namespace"
                )
        now = clock()
        value, token = mint(wanted.name, wanted.grants(), now, _end(wanted, caller.token, now))
        await store.add_token(token)
        log.info("token_created", token=token.id)
        wake(None)
        return answer({**render_token(token), "token": value})

    @router.get("/api/inlet/tokens")
    async def list_tokens(request: Request) -> Response:
        """The tokens that the caller could have made, revoked ones included, without their values."""
        caller = await _admin(guard, request)
        tokens = [token for token in await store.list_tokens() if _manages(caller, token)]
        return answer({"items": [render_token(token) for token in tokens]})

    @router.delete("/api/inlet/tokens/{token_id}")
    async def revoke_token(request: Request, token_id: str) -> Response:
        """Revoke a token, for good; doing it twice changes nothing."""
        caller = await _admin(guard, request)
        tokens = {token.id: token for token in await store.list_tokens() if _manages(caller, token)}
        if token_id not in tokens:
            raise NotFound(f"There is no token {token_id!r}")
        await store.revoke_token(token_id, clock())
        log.info("token_revoked", token=token_id)
        wake(None)
        return answer({})

    @router.get("/api/inlet/namespaces")
    async def list_namespaces(request: Request) -> Response:
        """The namespaces that the token can see."""
        caller = await guard(request)
        names = visible_namespaces(caller.token, await store.list_namespaces())
        return answer({"items": [{"name": name} for name in names]})

    @router.post("/api/inlet/namespaces", openapi_extra=body_of(NewNamespace))
    async def create_namespace(request: Request) -> Response:
        """Make a namespace."""
        caller = await guard(request)
        caller.require(Permission.ADMIN, EVERYWHERE)
        name = validate(NewNamespace, await json_object(request)).name
        if name in RESERVED_SEGMENTS:
            raise Invalid(f"{name!r} is a word of the API: choose another", field="name")
        await store.add_namespace(name, clock())
        log.info("namespace_created", namespace=name)
        return answer({"name": name})

    return router


async def _admin(guard: Guard, request: Request) -> Caller:
    """The caller, if they are admin of anything at all."""
    caller = await guard(request)
    if not any(grant.permission is Permission.ADMIN for grant in caller.token.grants):
        raise Forbidden(f"The token {caller.token.name!r} lacks the permission admin")
    return caller


def _end(wanted: NewToken, maker: Token, now: float) -> float | None:
    """When the wanted token ends: with the token that makes it, unless an earlier end is asked for."""
    if wanted.expires_in_days is None:
        return maker.expires_at
    end = now + wanted.expires_in_days * _DAY_S
    if maker.expires_at is not None and end > maker.expires_at:
        left = (maker.expires_at - now) / _DAY_S
        raise Invalid(
            f"a token cannot outlive the one that makes it, which ends in {left:.2f} days",
            field="expires_in_days",
        )
    return end


def _manages(caller: Caller, token: Token) -> bool:
    return all(caller.may(Permission.ADMIN, grant.namespace, grant.endpoint) for grant in token.grants)
