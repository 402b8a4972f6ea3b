"""The one place of the router where an error becomes an answer, and an answer of our own becomes bytes.

Called by `server.py` and `local.py`. A body is `{"error": …}`; when an endpoint's state is the reason it also has
`state` and `retry_after`. Must never show a secret, a token or an address of a replica.
"""

from __future__ import annotations

import math

import orjson

from inlet.core.errors import InletError, Unauthenticated
from inlet.router.errors import BadMessage, NotServing
from inlet.router.head import METHODS
from inlet.router.rewrite import reason


def render(
    status: int,
    body: bytes,
    *,
    id_: bytes,
    keep_alive: bool,
    modern: bool,
    content_type: bytes = b"application/json",
    extra: bytes = b"",
    bodiless: bool = False,
) -> bytes:
    """One complete answer. `extra` holds whole field lines; `bodiless` is for HEAD; `modern` means HTTP/1.1."""
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%bx-request-id: %b\r\n%b\r\n%b" % (
        status,
        reason(status),
        content_type,
        len(body),
        extra,
        id_,
        connection_field(keep_alive=keep_alive, modern=modern),
        b"" if bodiless else body,
    )


def connection_field(*, keep_alive: bool, modern: bool) -> bytes:
    """The Connection field, where the version's default is not what is meant."""
    if keep_alive:
        return b"" if modern else b"connection: keep-alive\r\n"
    return b"connection: close\r\n"


def render_error(error: InletError, *, id_: bytes, keep_alive: bool, modern: bool, bodiless: bool) -> bytes:
    """The answer that an error is."""
    content: dict[str, str | float | None] = {"error": str(error)}
    extra = b""
    if isinstance(error, NotServing):
        content |= {"state": error.state, "retry_after": error.retry_after}
        if error.retry_after is not None:
            extra = b"retry-after: %d\r\n" % math.ceil(error.retry_after)
    elif isinstance(error, Unauthenticated):
        extra = b"www-authenticate: Bearer\r\n"
    elif isinstance(error, BadMessage) and error.status == 405:
        extra = b"allow: %b\r\n" % b", ".join(sorted(METHODS))
    return render(
        error.status,
        orjson.dumps(content),
        id_=id_,
        keep_alive=keep_alive,
        modern=modern,
        extra=extra,
        bodiless=bodiless,
    )
