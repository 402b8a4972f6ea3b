r"""The head of a request: parsed by httptools, tightened by checks of our own, and never passed on as it came.

Called by `server.py` with exactly one head (up to and with its empty line). What is refused here ends the connection,
because after a head that two parsers may read differently nothing that follows can be trusted. httptools itself refuses
folding, bare line ends and control characters inside a head; the tests hold it to that. Must never decode a body and
never look at the route table.

Callers send the same head over and over, byte for byte, so the last short ones that came twice are remembered with what
was read from them. That is why a `RequestHead` is never changed once it was handed out.

| what arrives | decision |
|---|---|
| method | GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS; all others, CONNECT and TRACE among them: 405 |
| request line | three words, single spaces, `HTTP/1.0` or `HTTP/1.1`; another version 505, anything else 400 |
| target | origin-form. Absolute-form is read if its authority equals Host, else 400; authority-form and `*` 400 |
| target's length | at most 8 KiB: 414 |
| target's bytes | visible ASCII without `#` and `\`, complete percent-escapes, no `%00`: else 400 |
| dot segments | `.` and `..`, plain or encoded, also behind `%2f` or `%5c`: 400 |
| `//` and `%2f` | passed on unchanged inside an endpoint's path; in the part that names an endpoint they name nothing: 404 |
| head's size | at most 32 KiB and 100 fields: 431 |
| line ends | CR LF; a bare LF or CR 400. One empty line before the request line is skipped |
| folded field, space before `:`, empty or odd field name | 400 |
| control characters, NUL | 400 in every part of the head; bytes from 0x80 are allowed in values only |
| Host | exactly one on 1.1, at most one on 1.0, a host and perhaps a port: else 400 |
| Content-Length | one, digits only; repeated, listed, signed, empty or overflowing 400 |
| Transfer-Encoding | exactly `chunked`, once, on 1.1, without Content-Length; else 400 |
| Authorization | at most one: 400 |
| Expect | `100-continue` is answered by us once the request is admitted; another value 417 |
| Upgrade | ignored, as HTTP allows; the field is not passed on |
| Connection | `close` and `keep-alive` are obeyed; the fields it names are not passed on |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import httptools

from inlet.router.errors import BadMessage

MAX_HEAD = 32 * 1024
MAX_FIELDS = 100
MAX_TARGET = 8 * 1024
MAX_DIGITS = 19
MAX_HOST = 512  # bytes; names are at most 253
MAX_REMEMBERED = 2048  # bytes of one head
REMEMBERED = 1024  # heads
SEEN = 4096  # hashes
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})

Fields = list[tuple[bytes, bytes]]
NAMES_NOTHING: frozenset[bytes] = frozenset()

_LINE = re.compile(rb"(%b) ([^ \r\n]+) HTTP/1\.([01])\r\n" % b"|".join(sorted(METHODS)))
_seen: set[int] = set()  # hashes of heads that came once
_NOT_VISIBLE = bytes([*range(33), *range(127, 256)])
_READ_HERE = frozenset(
    {
        b"host", b"content-length", b"connection", b"transfer-encoding", b"authorization", b"expect", b"x-request-id",
        b"x-amzn-trace-id", b"x-scale-up-timeout",
    }
)  # fmt: skip
_PLAIN_TARGET = re.compile(rb"/[A-Za-z0-9/_?=&~:@!$'()*+,;-]*")
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._:=;/+-]{1,128}")
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00")
_SEPARATOR = re.compile(rb"/|%2[fF]|%5[cC]")
_ENCODED_DOT = re.compile(rb"%2[eE]")


@dataclass(slots=True, eq=False)
class RequestHead:
    """One checked head. Field names are lower case, in the order they came, repeated ones repeated.

    `target` is path and query in origin-form; `host` is lower case without a port and None when there was none;
    `authority` is Host as sent. `length` is None without Content-Length. `named` are the fields that Connection names.
    `caller_id` is the caller's own id of the request, if it sent a plain one; `patience` is X-Scale-Up-Timeout.
    `remembered`: the next request with these bytes gets this object again.
    """

    method: bytes
    target: bytes
    modern: bool  # HTTP/1.1
    fields: Fields
    keep_alive: bool = True
    host: str | None = None
    authority: bytes = b""
    length: int | None = None
    chunked: bool = False
    expects_continue: bool = False
    authorization: bytes | None = None
    named: frozenset[bytes] = NAMES_NOTHING
    caller_id: bytes | None = None
    patience: bytes | None = None
    remembered: bool = False


NO_HEAD = RequestHead(b"GET", b"/", modern=True, fields=[], keep_alive=False)
"""Stands for a head that could not be read."""


class _Collector:
    """Receives httptools' callbacks."""

    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: Fields = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_head(raw: bytes) -> RequestHead:
    """Read one head that ends with its empty line; `BadMessage` says what is wrong with it."""
    if len(raw) > MAX_REMEMBERED:
        return _parse(raw)
    digest = hash(raw)
    if digest not in _seen:
        # A head that never comes again, for it has an id in it, must not push out one that does.
        if len(_seen) >= SEEN:
            _seen.clear()
        _seen.add(digest)
        return _parse(raw)
    return _remembered(raw)


@lru_cache(maxsize=REMEMBERED)
def _remembered(raw: bytes) -> RequestHead:
    head = _parse(raw)
    head.remembered = True
    return head


def _parse(raw: bytes) -> RequestHead:
    line = _LINE.match(raw)
    if line is None:
        raise _bad_line(raw)
    method, target, minor = line.groups()
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # the upgrade is not taken up: the request is answered as an ordinary one
    except httptools.HttpParserError as error:
        raise BadMessage(400, f"not an HTTP request: {error}") from error
    if not collector.complete:
        raise BadMessage(400, "not an HTTP request: the head does not end where it should")
    if len(collector.fields) > MAX_FIELDS:
        raise BadMessage(431, f"more than {MAX_FIELDS} header fields")
    head = RequestHead(method, target, minor == b"1", collector.fields)
    _read_fields(head)
    if not head.target.startswith(b"/"):
        head.target = _from_absolute(head)
    if len(head.target) > MAX_TARGET or not _PLAIN_TARGET.fullmatch(head.target):
        _check_target(head.target)
    return head


def _bad_line(raw: bytes) -> BadMessage:
    """What is wrong with the request line of this head."""
    words = raw.partition(b"\r\n")[0].split(b" ")
    if len(words) != 3 or not words[1]:
        return BadMessage(
            400, "the request line is not: method, target, HTTP/1.1, with single spaces between"
        )
    method, _, version = words
    if not (method.isalpha() and method.isupper()):
        return BadMessage(400, "not an HTTP request")
    if method not in METHODS:
        return BadMessage(
            405, f"method not supported; use one of {', '.join(sorted(m.decode() for m in METHODS))}"
        )
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        return BadMessage(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    return BadMessage(400, "a line of the head ends without CR LF")


def check_unfinished(head: bytes, *, skipped: int, seen: int) -> None:
    """Refuse at once the beginning of a head that cannot become a good one.

    `skipped` bytes of it were an empty line; `seen` bytes were looked at before.
    """
    first = head[skipped : skipped + 1]
    if first and not first.isupper() and head != b"\r":
        raise BadMessage(400, "not an HTTP request")
    fresh = head[max(0, seen - 1) :]
    if seen and fresh.startswith(b"\n"):
        fresh = fresh[1:]  # the end of a line that was looked at
    if fresh.count(b"\n") != fresh.count(b"\r\n"):
        raise BadMessage(400, "a line of the head ends without CR LF")
    line_end = head.find(b"\r\n", skipped)
    if (len(head) if line_end < 0 else line_end) > MAX_TARGET + 32:
        raise BadMessage(414, f"the target is longer than {MAX_TARGET} bytes")
    if len(head) >= MAX_HEAD:
        raise BadMessage(431, f"the head is larger than {MAX_HEAD} bytes")


@lru_cache(maxsize=64)
def tokens(value: bytes) -> frozenset[bytes]:
    """The words of a comma-separated field, in lower case."""
    return frozenset(word.strip(b" \t").lower() for word in value.split(b","))


def _read_fields(head: RequestHead) -> None:
    hosts = 0
    for name, sent in head.fields:
        if name not in _READ_HERE:
            continue
        value = sent.rstrip(b" \t")  # what stood in front of it is gone already
        if name == b"host":
            hosts += 1
            head.authority = value
        elif name == b"content-length":
            # httptools let only digits through, and only one such field; any number of leading zeros, though
            if len(value) > MAX_DIGITS:
                raise BadMessage(400, "Content-Length has too many digits")
            head.length = int(value)
        elif name == b"authorization":
            if head.authorization is not None:
                raise BadMessage(400, "more than one Authorization")
            head.authorization = value
        elif name == b"connection":
            head.named |= tokens(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or head.chunked or not head.modern:
                raise BadMessage(400, "Transfer-Encoding may only be: chunked, once, with HTTP/1.1")
            head.chunked = True
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise BadMessage(417, "Expect may only be: 100-continue")
            head.expects_continue = head.modern
        elif name == b"x-scale-up-timeout":
            head.patience = value
        elif head.caller_id is None and _PLAIN_ID.fullmatch(value):
            head.caller_id = value
    if hosts > 1 or (head.modern and not hosts):
        raise BadMessage(400, "HTTP/1.1 needs exactly one Host")
    if hosts:
        head.host = _host(head.authority)
    if head.named or not head.modern:
        head.keep_alive = b"close" not in head.named if head.modern else b"keep-alive" in head.named


@lru_cache(maxsize=256)
def _host(authority: bytes) -> str:
    if len(authority) > MAX_HOST or not _HOST.fullmatch(authority):
        raise BadMessage(400, "Host is not a host name or address with an optional port")
    host = authority.decode("ascii").lower()
    return (host if host.endswith("]") else host.rpartition(":")[0] or host).rstrip(".")


def _from_absolute(head: RequestHead) -> bytes:
    match = _ABSOLUTE.match(head.target)
    if match is None:
        raise BadMessage(400, "the target is neither a path nor an absolute URL")
    if match[1].lower() != head.authority.lower():
        raise BadMessage(400, "the host in the target differs from Host")
    rest = head.target[match.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def _check_target(target: bytes) -> None:
    if len(target) > MAX_TARGET:
        raise BadMessage(414, f"the target is longer than {MAX_TARGET} bytes")
    if len(target.translate(None, _NOT_VISIBLE)) != len(target) or b"#" in target or b"\\" in target:
        raise BadMessage(400, "the target has characters that must be percent-encoded")
    if b"%" in target:
        if _BAD_ESCAPE.search(target):
            raise BadMessage(400, "the target has a broken percent-escape")
    elif b"/." not in target:
        return
    path = target.partition(b"?")[0]
    for segment in _SEPARATOR.split(path):
        if _ENCODED_DOT.sub(b".", segment) in (b".", b".."):
            raise BadMessage(400, "the path has dot segments; send it normalised")
