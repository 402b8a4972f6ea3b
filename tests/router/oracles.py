"""What must hold of every byte string that our parsers take, told by parsers that are not ours.

Called by `test_fuzz.py` with generated and stored inputs, and by `fuzz.py` with what a fuzzer makes up. The rule is one-sided:
we may refuse what others take, but what we take must be read in the same way by h11 (the strict parser of another
project, written in Python) and, once we have rebuilt it, by httptools (which most replicas use).

What h11 takes and we refuse, on purpose: other methods; `CONNECT`; targets that are not paths, hold dot segments, broken escapes or
`#`; folded fields; bare line feeds; control characters inside a value; a repeated Content-Length, even of one value; both
framings; chunks on HTTP/1.0; more than one Authorization; a Host that is no host; odd values of Expect; spaces in a chunk's size line.
What we take and h11 does not: nothing.
"""

from __future__ import annotations

import re
from typing import Any

import h11
import httptools

from inlet.router.body import LAST_CHUNK, BadFraming, Chunked, chunk
from inlet.router.errors import BadMessage
from inlet.router.head import METHODS, RequestHead, check_unfinished, parse_head
from inlet.router.response import BadAnswer, ResponseHead, has_body, parse_response
from inlet.router.rewrite import framing, request_end, request_head, response_start

REFUSALS = {400, 405, 414, 417, 431, 505}
NEXT = b"GET /next HTTP/1.1\r\nhost: next\r\n\r\n"
NEXT_ANSWER = b"HTTP/1.1 299 Next\r\ncontent-length: 0\r\n\r\n"
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LARGEST = 1 << 24
_BODY = b'{"inputs": "x"}'

Fields = list[tuple[bytes, bytes]]


def check_request(data: bytes) -> bool:
    """Hold one request's head (all up to the first empty line) against the others; whether we took it."""
    raw, end, _ = data.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    raw += end
    if not end:
        return False
    try:
        head = parse_head(raw)
    except BadMessage as error:
        if error.status not in REFUSALS:
            raise
        return False
    _is_not_refused_half_way(raw)
    _obeys_plain_rules(raw, head)
    body, wire = _some_body(chunked=head.chunked, length=head.length)
    if body is None:
        return True
    seen = _read_with_h11(h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST), raw + wire + NEXT)
    assert seen["method"] == head.method
    assert raw.startswith(seen["method"] + b" " + seen["target"] + b" HTTP/" + seen["version"] + b"\r\n")
    assert seen["target"] in (head.target, raw.split(b" ")[1])
    assert seen["fields"] == [(name, _plain(name, value)) for name, value in head.fields]
    assert (seen["body"], seen["rest"]) == (body, NEXT)
    _is_passed_on_whole(head)
    return True


def check_answer(data: bytes) -> bool:
    """The same for an answer's head; one that begins with `-` is an answer to HEAD, else to GET."""
    method, data = (b"HEAD", data[1:]) if data.startswith(b"-") else (b"GET", data)
    raw, end, _ = data.partition(b"\r\n\r\n")
    raw += end
    if not end:
        return False
    try:
        head = parse_response(raw)
    except BadAnswer:
        return False
    assert not _CONTROLS.search(raw.replace(b"\r\n", b""))
    bodiless = head.status < 200 or not has_body(head, method)
    body, wire = (b"", b"") if bodiless else _some_body(chunked=head.chunked, length=head.length)
    if body is None:
        return True
    until_close = not bodiless and not head.chunked and head.length is None
    if until_close:
        body = wire = _BODY
    seen = _read_with_h11(
        _asking(method),
        raw + wire + (b"" if until_close or head.status < 200 else NEXT_ANSWER),
        closes=until_close,
    )
    assert seen["status"] == head.status
    assert seen["reason"] == head.reason.strip(b" \t") or seen["reason"] == head.reason
    assert seen["fields"] == [(name, _plain(name, value)) for name, value in head.fields]
    if head.status >= 200:
        assert (seen["body"], seen["rest"]) == (body, b"" if until_close else NEXT_ANSWER)
        _is_answered_whole(head, method, body)
    return True


def check_chunks(data: bytes) -> bool:
    """A chunked body, and what follows it: it ends for h11 and for httptools where it ends for us; whether it did end."""
    decoder = Chunked()
    try:
        body, rest = decoder.feed(data)
    except BadFraming:
        return False
    if not decoder.done:
        assert not rest
        return False
    wire = data[: len(data) - len(rest)]
    head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    seen = _read_with_h11(h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST), head + wire + NEXT)
    assert (seen["body"], seen["rest"]) == (body, NEXT)
    collected = read_with_httptools(head + wire + NEXT)
    assert [message["body"] for message in collected] == [body, b""]
    assert collected[1]["target"] == b"/next"
    return True


def read_with_httptools(data: bytes) -> list[dict[str, Any]]:
    """Every message that httptools finds in a stream of requests."""
    messages: list[dict[str, Any]] = []

    class Collector:
        def on_message_begin(self) -> None:
            messages.append({"target": b"", "fields": [], "body": b"", "complete": False})

        def on_url(self, url: bytes) -> None:
            messages[-1]["target"] += url

        def on_header(self, name: bytes, value: bytes) -> None:
            messages[-1]["fields"].append((name.lower(), value))

        def on_body(self, body: bytes) -> None:
            messages[-1]["body"] += body

        def on_message_complete(self) -> None:
            messages[-1]["complete"] = True

    httptools.HttpRequestParser(Collector()).feed_data(data)
    return messages


def _is_not_refused_half_way(raw: bytes) -> None:
    seen = 0
    for place in range(1, len(raw), max(1, len(raw) // 8)):
        check_unfinished(raw[:place], skipped=0, seen=seen)
        seen = place


def _obeys_plain_rules(raw: bytes, head: RequestHead) -> None:
    """The table in router/head.py, told again in other words."""
    lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert not _CONTROLS.search(b"".join(lines))
    assert all(line[:1] not in (b" ", b"\t") for line in lines)
    assert re.fullmatch(rb"[A-Z]+ [\x21-\x7e]+ HTTP/1\.[01]", lines[0])
    assert head.method in METHODS
    assert re.fullmatch(rb"/[\x21-\x7e]*", head.target)
    assert not re.search(rb"%(?![0-9A-Fa-f]{2})|%00|[#\\]", head.target)
    path = re.sub(rb"%2e", b".", head.target.partition(b"?")[0], flags=re.IGNORECASE)
    assert not {b".", b".."} & set(re.split(rb"/|%2f|%5c", path, flags=re.IGNORECASE))
    split = [line.partition(b":") for line in lines[1:]]
    assert all(_TOKEN.fullmatch(name) for name, _, _ in split)
    fields = [(name.lower(), value.strip(b" \t")) for name, _, value in split]
    assert fields == [(name, value.strip(b" \t")) for name, value in head.fields]

    def values(name: bytes) -> list[bytes]:
        return [value for key, value in fields if key == name]

    assert len(values(b"host")) == 1 or (not values(b"host") and not head.modern)
    assert len(values(b"authorization")) <= 1
    lengths = values(b"content-length")
    assert len(lengths) == (head.length is not None)
    assert all(int(value) == head.length for value in lengths)
    assert [value.lower() for value in values(b"transfer-encoding")] == ([b"chunked"] if head.chunked else [])
    assert not (head.chunked and (head.length is not None or not head.modern))


def _is_passed_on_whole(head: RequestHead) -> None:
    """What a replica gets is one well-formed request, for both parsers, without what it must not see."""
    start = request_head(head, head.target, scheme=b"http", to_control=False)
    body = _BODY if head.chunked or head.length is not None else b""
    framings = (
        [(framing(len(body)), body), (framing(None), chunk(body) + LAST_CHUNK)] if body else [(b"", b"")]
    )
    for field, payload in framings:
        whole = start + request_end(id_=b"id", client=b"1.2.3.4", framing_field=field, body=payload) + NEXT
        seen = _read_with_h11(h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST), whole)
        assert (seen["method"], seen["target"]) == (head.method, head.target)
        assert (seen["body"], seen["rest"]) == (body, NEXT)
        _holds_nothing_of_ours(seen["fields"], head.named)
        theirs = read_with_httptools(whole)
        assert [(m["target"], m["body"], m["complete"]) for m in theirs] == [
            (head.target, body, True),
            (b"/next", b"", True),
        ]
        assert [(n, _plain(n, v)) for n, v in theirs[0]["fields"]] == seen["fields"]


def _holds_nothing_of_ours(fields: Fields, named: frozenset[bytes]) -> None:
    names = [name for name, _ in fields]
    for once in (b"host", b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"):
        assert names.count(once) == 1
    framed = [name for name in names if name in (b"content-length", b"transfer-encoding")]
    assert len(framed) <= 1
    gone = {
        b"authorization", b"cookie", b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te",
        b"trailer", b"upgrade", b"expect", b"forwarded", b"x-real-ip", b"x-inlet-draining",
    }  # fmt: skip
    assert not gone & set(names)
    ours = {b"host", b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", *framed}
    assert not (named - ours) & set(names)


def _is_answered_whole(head: ResponseHead, method: bytes, body: bytes) -> None:
    """What a client gets is one well-formed answer without what is the router's own."""
    payload = has_body(head, method)
    whole = response_start(
        head,
        id_=b"id",
        sandboxed=True,
        framing_field=framing(None) if payload else b"",
        connection_field=b"",
        body=chunk(body) + LAST_CHUNK if payload else b"",
    )
    seen = _read_with_h11(_asking(method), whole + NEXT_ANSWER)
    assert (seen["status"], seen["body"], seen["rest"]) == (
        head.status,
        body if payload else b"",
        NEXT_ANSWER,
    )
    names = [name for name, _ in seen["fields"]]
    for once in (b"x-request-id", b"content-security-policy", b"x-content-type-options"):
        assert names.count(once) == 1
    assert not {
        b"set-cookie",
        b"connection",
        b"keep-alive",
        b"upgrade",
        b"trailer",
        b"x-inlet-draining",
    } & set(names)


def _asking(method: bytes) -> h11.Connection:
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST)
    parser.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"a")]))
    parser.send(h11.EndOfMessage())
    return parser


def _read_with_h11(parser: h11.Connection, data: bytes, *, closes: bool = False) -> dict[str, Any]:
    """The first message in `data`, and what follows it."""
    parser.receive_data(data)
    if closes:
        parser.receive_data(b"")
    seen: dict[str, Any] = {"body": b""}
    while True:
        event = parser.next_event()
        if isinstance(event, h11.Request):
            seen |= {"method": event.method, "target": event.target}
        elif isinstance(event, h11.Response | h11.InformationalResponse):
            seen |= {"status": event.status_code, "reason": event.reason}
        if isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
            seen |= {"version": event.http_version, "fields": [(n, _plain(n, v)) for n, v in event.headers]}
            if isinstance(event, h11.InformationalResponse):
                return seen
        elif isinstance(event, h11.Data):
            seen["body"] += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            seen["rest"] = parser.trailing_data[0]
            return seen
        else:
            raise AssertionError(f"h11 found no end: {event!r}")  # noqa: TRY004 - a rule is broken, not a type


def _plain(name: bytes, value: bytes) -> bytes:
    """A value as it counts: h11 writes lengths anew and lowers encodings."""
    value = value.strip(b" \t")
    if name == b"content-length":
        return b"%d" % int(value)
    return value.lower() if name == b"transfer-encoding" else value


def _some_body(*, chunked: bool, length: int | None) -> tuple[bytes | None, bytes]:
    """A body of this framing, and its bytes on the wire; None for one that would be too long to make."""
    if chunked:
        return _BODY, b"5\r\n" + _BODY[:5] + b"\r\na;x=y\r\n" + _BODY[5:] + b"\r\n0\r\n\r\n"
    if length is None:
        return b"", b""
    return (b"x" * length, b"x" * length) if length <= 4096 else (None, b"")
