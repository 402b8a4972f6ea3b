"""The head of an answer from a replica or from control: parsed by httptools, tightened like a request's.

Called by `upstream.py`. A replica is not trusted with the client's connection: an answer whose end could be read in two
ways is refused whole (`BadAnswer`), and its fields are only ever sent on by `rewrite.py`.

| what arrives | decision |
|---|---|
| 100, 102, 103 and other 1xx | dropped, up to 100; `Expect` was answered by us. 101 is refused: we never ask for an upgrade |
| Content-Length with Transfer-Encoding, or repeated, or not digits | refused |
| Transfer-Encoding other than exactly `chunked`, or in HTTP/1.0 | refused |
| neither | the body ends with the connection |
| bare LF or CR, folding, control characters, more than 64 KiB or 200 fields | refused |
| bytes after the end of the answer | dropped, and the connection with them |
"""

from __future__ import annotations

from dataclasses import dataclass

import httptools

from inlet.router.body import Chunked, Decoder, Length, UntilClose
from inlet.router.head import MAX_DIGITS, NAMES_NOTHING, Fields, tokens

MAX_ANSWER_HEAD = 64 * 1024
MAX_ANSWER_FIELDS = 200

_CONTROLS = bytes([*range(9), *range(10, 32), 127])  # all but HTAB
_READ_HERE = frozenset({b"content-length", b"transfer-encoding", b"connection", b"x-inlet-draining"})


class BadAnswer(ValueError):
    """What came back is not an HTTP answer that may be passed on."""


@dataclass(slots=True)
class ResponseHead:
    """One checked head; field names in lower case. `length` is None without Content-Length; `draining`: it will end soon."""

    status: int
    reason: bytes
    fields: Fields
    keep_alive: bool
    length: int | None
    chunked: bool
    named: frozenset[bytes]
    draining: bool


class _Collector:
    __slots__ = ("complete", "fields", "reason")

    def __init__(self) -> None:
        self.fields: Fields = []
        self.reason = b""
        self.complete = False

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_response(raw: bytes) -> ResponseHead:
    """Read one head that ends with its empty line; `BadAnswer` when it must not be passed on."""
    collector = _Collector()
    parser = httptools.HttpResponseParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade as error:
        raise BadAnswer("an upgrade that nobody asked for") from error
    except httptools.HttpParserError as error:
        raise BadAnswer(f"not an HTTP answer: {error}") from error
    status = parser.get_status_code()
    modern = raw.startswith(b"HTTP/1.1 ")
    if not (modern or raw.startswith(b"HTTP/1.0 ")) or not collector.complete or not 100 <= status <= 599:
        raise BadAnswer("not an answer in HTTP/1.1 or 1.0")
    if collector.reason.translate(None, _CONTROLS) != collector.reason:
        raise BadAnswer(
            "control characters in its status line"
        )  # the one place where httptools lets them through
    if status == 101:
        raise BadAnswer("an upgrade that nobody asked for")
    if len(collector.fields) > MAX_ANSWER_FIELDS:
        raise BadAnswer("too many header fields")
    length: int | None = None
    chunked = draining = False
    named = NAMES_NOTHING
    for name, sent in collector.fields:
        if name not in _READ_HERE:
            continue
        value = sent.rstrip(b" \t")
        if name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > MAX_DIGITS:
                raise BadAnswer("more than one Content-Length, or one that is not a number")
            length = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or chunked or not modern:
                raise BadAnswer("a Transfer-Encoding other than chunked, or in HTTP/1.0")
            chunked = True
        elif name == b"connection":
            named |= tokens(value)
        else:
            draining = value == b"1"
    if chunked and length is not None:
        raise BadAnswer("both Content-Length and Transfer-Encoding")
    keep_alive = b"close" not in named if modern else b"keep-alive" in named
    return ResponseHead(
        status, collector.reason, collector.fields, keep_alive, length, chunked, named, draining
    )


def has_body(head: ResponseHead, method: bytes) -> bool:
    """Whether an answer to `method` with this head has a body, be it an empty one."""
    return method != b"HEAD" and head.status not in (204, 304)


def decoder_for(head: ResponseHead, method: bytes) -> Decoder:
    """Where the body of this answer ends."""
    if not has_body(head, method):
        return Length(0)
    if head.chunked:
        return Chunked()
    return UntilClose() if head.length is None else Length(head.length)
