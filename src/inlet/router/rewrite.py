"""Which header fields pass, each way: builds the heads that are sent on, from what was parsed.

Called by `plan.py` for requests and by `forward.py` for answers. Nothing passes as raw bytes, and framing fields are
always our own, made by `framing()`. Hop-by-hop fields and those that Connection names never pass.
"""

from __future__ import annotations

import random
from http import HTTPStatus

from inlet.router.head import RequestHead
from inlet.router.response import ResponseHead

_HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-authentication-info", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
        b"content-length",
    }
)  # fmt: skip
_OURS = frozenset(
    {
        b"host", b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host",
        b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-server", b"x-real-ip", b"x-request-id",
        b"x-scale-up-timeout", b"x-inlet-draining",
    }
)  # fmt: skip
_TO_CONTROL = _HOP_BY_HOP | _OURS
_TO_REPLICA = _TO_CONTROL | {b"authorization", b"cookie", b"cookie2"}
_FROM_ANY = _HOP_BY_HOP | {b"x-request-id", b"x-inlet-draining"}
# What would act on the whole public origin, which belongs to control's pages and not to one replica.
_FROM_SANDBOXED = _FROM_ANY | {
    b"set-cookie", b"set-cookie2", b"content-security-policy", b"x-content-type-options", b"clear-site-data",
    b"strict-transport-security", b"service-worker-allowed", b"alt-svc", b"nel", b"report-to",
    b"reporting-endpoints",
}  # fmt: skip
_NAMED_BY_MANY = frozenset({b"keep-alive", b"close"})  # no field, or one that is dropped anyway
_SANDBOX = b"content-security-policy: sandbox\r\nx-content-type-options: nosniff\r\n"
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


def request_id(head: RequestHead) -> bytes:
    """The caller's own id of this request when it is short and plain, else a new one of 32 hexadecimal digits."""
    return head.caller_id or b"%032x" % random.getrandbits(128)  # a name for logs, not a secret


def request_head(head: RequestHead, target: bytes, *, scheme: bytes, to_control: bool) -> bytes:
    """Request line and fields for an upstream: all but the fields of `request_end`, which are each request's own.

    A replica never gets the caller's token or cookies.
    """
    dropped = _TO_CONTROL if to_control else _TO_REPLICA
    if head.named and not head.named <= _NAMED_BY_MANY:
        dropped |= head.named
    lines = [b"%b: %b\r\n" % item for item in head.fields if item[0] not in dropped]
    authority = head.authority or b"localhost"
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%bx-forwarded-proto: %b\r\nx-forwarded-host: %b\r\n" % (
        head.method, target, authority, b"".join(lines), scheme, authority,
    )  # fmt: skip


def request_end(*, id_: bytes, client: bytes, framing_field: bytes, body: bytes) -> bytes:
    """The rest of a request's head, and what of its body goes with it. `client` is the peer's address."""
    return b"x-request-id: %b\r\nx-forwarded-for: %b\r\n%b\r\n%b" % (id_, client, framing_field, body)


def response_start(
    head: ResponseHead,
    *,
    id_: bytes,
    sandboxed: bool,
    framing_field: bytes,
    connection_field: bytes,
    body: bytes,
) -> bytes:
    """An answer's head for the client, and what of its body goes with it.

    `connection_field` is empty where the version's default is meant.
    """
    dropped = _FROM_SANDBOXED if sandboxed else _FROM_ANY
    if head.named and not head.named <= _NAMED_BY_MANY:
        dropped |= head.named
    lines = [b"%b: %b\r\n" % item for item in head.fields if item[0] not in dropped]
    return b"HTTP/1.1 %d %b\r\n%b%bx-request-id: %b\r\n%b%b\r\n%b" % (
        head.status, head.reason or reason(head.status), b"".join(lines), _SANDBOX if sandboxed else b"",
        id_, framing_field, connection_field, body,
    )  # fmt: skip


def reason(status: int) -> bytes:
    """The standard phrase of a status, or nothing."""
    return _REASONS.get(status, b"")


def framing(length: int | None) -> bytes:
    """The field that says where the body ends: its length, or chunks when that is not known."""
    return b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length
