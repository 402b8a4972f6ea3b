"""What a replica may send back: passed on, refused whole with a typed 502, or cut off so that the client can tell. Never mixed.

Each row is sent by a replica as its answer to one request; the next request on the same client's connection must get the
answer that belongs to it, and a connection on which a replica said anything odd must never carry another request.
"""

import asyncio
import socket
import struct

import pytest

from inlet.core.routes import Upstream
from inlet.core.spec import Visibility
from tests.router.world import Answer, Asked, Raw, Server, Visit, World, request, route, until, world

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
FORGED = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"

REFUSED: list[tuple[str, bytes]] = [
    # status line
    ("garbage", b"garbage\r\n\r\n"),
    ("HTTP/2", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("HTTP/2 in frames", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\r\n\r\n"),
    ("HTTP/0.9", b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("HTTP/1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("another protocol", b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a TLS alert", b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n"),
    ("version in lower case", b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("an empty line first", b"\r\n" + OK + b"Content-Length: 0\r\n\r\n"),
    ("a space first", b" " + OK + b"Content-Length: 0\r\n\r\n"),
    ("two spaces", b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("a tab", b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("no status", b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status with a sign", b"HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status below 100", b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"),
    ("status above 599", b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n"),
    ("status 999", b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
    ("no space behind the status", b"HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n"),
    ("control character in the reason", b"HTTP/1.1 200 O\x08K\r\nContent-Length: 2\r\n\r\nok"),
    ("NUL in the reason", b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok"),
    ("bare CR in the reason", b"HTTP/1.1 200 OK\rX: y\r\nContent-Length: 2\r\n\r\nok"),
    ("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ("101 after 100", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    # fields
    ("bare LF throughout", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("bare LF between fields", OK + b"X: a\nContent-Length: 2\r\n\r\nok"),
    ("bare LF at the end", OK + b"Content-Length: 2\r\n\nok\r\n\r\n"),
    ("bare CR in a value", OK + b"X: a\rY: b\r\nContent-Length: 2\r\n\r\nok"),
    ("CR CR LF", OK + b"X: a\r\r\nContent-Length: 2\r\n\r\nok"),
    ("folded field", OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    ("folded first field", OK + b" X: a\r\nContent-Length: 2\r\n\r\nok"),
    ("NUL in a value", OK + b"X: a\x00b\r\nContent-Length: 2\r\n\r\nok"),
    ("control character in a value", OK + b"X: a\x1bb\r\nContent-Length: 2\r\n\r\nok"),
    ("NUL in a name", OK + b"X\x00: a\r\nContent-Length: 2\r\n\r\nok"),
    ("space in a name", OK + b"X y: a\r\nContent-Length: 2\r\n\r\nok"),
    ("space before the colon", OK + b"Content-Length : 2\r\n\r\nok"),
    ("no colon", OK + b"X\r\nContent-Length: 2\r\n\r\nok"),
    ("empty name", OK + b": a\r\nContent-Length: 2\r\n\r\nok"),
    ("name that is not ASCII", OK + b"X\xe4: a\r\nContent-Length: 2\r\n\r\nok"),
    ("head of 70,000 bytes", OK + b"X: " + b"x" * 70_000 + b"\r\n\r\n"),
    ("head without end", OK + b"X: y\r\n" * 20_000),
    ("300 fields", OK + b"".join(b"X-%d: 1\r\n" % n for n in range(300)) + b"\r\n"),
    # framing
    ("two lengths", OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
    ("two equal lengths", OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("a list of lengths", OK + b"Content-Length: 2, 2\r\n\r\nok"),
    ("length in words", OK + b"Content-Length: two\r\n\r\nok"),
    ("length with a sign", OK + b"Content-Length: +2\r\n\r\nok"),
    ("negative length", OK + b"Content-Length: -2\r\n\r\nok"),
    ("hexadecimal length", OK + b"Content-Length: 0x2\r\n\r\nok"),
    ("empty length", OK + b"Content-Length:\r\n\r\nok"),
    ("length with a space", OK + b"Content-Length: 2 2\r\n\r\nok"),
    ("length of many digits", OK + b"Content-Length: " + b"0" * 5000 + b"2\r\n\r\nok"),
    ("length over 64 bits", OK + b"Content-Length: 18446744073709551618\r\n\r\nok"),
    ("chunks in HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n"),
    ("length and chunked", OK + b"Content-Length: 2\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
    ("chunked and length", OK + CHUNKED + b"Content-Length: 2\r\n\r\n0\r\n\r\n"),
    ("gzip, chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked, chunked", OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", OK + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n"),
    ("chunked with a comma behind", OK + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    ("gzip", OK + b"Transfer-Encoding: gzip\r\n\r\nok"),
    ("identity", OK + b"Transfer-Encoding: identity\r\n\r\nok"),
    ("empty encoding", OK + b"Transfer-Encoding:\r\n\r\nok"),
    ("a size that is no number", OK + CHUNKED + b"\r\nzz\r\n"),
    ("a size with 0x", OK + CHUNKED + b"\r\n0x1\r\nx\r\n0\r\n\r\n"),
    ("a chunk's line with bare LF", OK + CHUNKED + b"\r\n1\nx\r\n0\r\n\r\n"),
    ("a chunk ended by bare LF", OK + CHUNKED + b"\r\n1\r\nx\n0\r\n\r\n"),
    ("a chunk longer than its size", OK + CHUNKED + b"\r\n1\r\nxy\r\n0\r\n\r\n"),
    ("a trailer that frames", OK + CHUNKED + b"\r\n1\r\nx\r\n0\r\nContent-Length: 9\r\n\r\n"),
    ("a chunk's line without end", OK + CHUNKED + b"\r\n" + b"1" * 5000),
]  # fmt: skip


async def answered_with(here: World, *pieces: bytes, closes: bool = False) -> Server:
    """A replica that answers a request for `/odd` with these pieces, and any other by echoing it."""

    async def behave(asked: Asked, visit: Visit) -> None:
        body = await visit.body()
        if not asked.target.startswith("/odd"):
            await visit.answer(body or b"ok")
            return
        for piece in pieces:
            await visit.write(piece)
            await asyncio.sleep(0)
        if closes:
            visit.close()
        else:
            await visit.until_gone()

    replica = await here.replica(behave=behave)
    await here.publish(route(replica.upstream(), visibility=Visibility.PUBLIC))
    return replica


async def next_is_right(client: Raw, replica: Server) -> None:
    """The client's connection goes on with an answer that belongs to its request, and on another connection."""
    await client.send(request(body=b"mine"))
    assert (await client.answer("POST")).body == b"mine"
    assert all("/odd" not in visit.raw.decode("latin-1") or visit.gone.is_set() for visit in replica.visits)


def is_typed_502(answer: Answer) -> bool:
    body = answer.json()
    return (
        answer.status == 502
        and set(body) == {"error", "state", "retry_after"}
        and (body["state"], body["retry_after"]) == ("running", 1.0)
        and answer.values("retry-after") == ["1"]
    )


@pytest.mark.parametrize("raw", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
@pytest.mark.parametrize("pace", ["at once", "in pieces"])
async def test_refused_whole(raw: bytes, pace: str):
    """In pieces, part of an answer may be passed on before the rest turns out to be broken: then it is cut."""
    pieces = (
        [raw + FORGED]
        if pace == "at once"
        else [*(bytes([byte]) for byte in raw[:3000]), raw[3000:] + FORGED]
    )
    async with world() as here:
        replica = await answered_with(here, *pieces)
        async with here.raw() as client:
            await client.send(request("/default/mini/odd", body=b"x"))
            if pace == "in pieces" and raw.startswith(OK + CHUNKED + b"\r\n"):
                assert b"forged" not in await client.closed()
            else:
                assert is_typed_502(await client.answer("POST"))
                await next_is_right(client, replica)
        await until(lambda: all(visit.gone.is_set() for visit in replica.visits if b"/odd" in visit.raw))
        assert sum(b"/odd" in visit.raw for visit in replica.visits) == 1  # it was not repeated
        assert here.load().in_flight == here.load().pending == 0


PASSED_ON: list[tuple[str, bytes, int, bytes]] = [
    ("no reason", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    ("no reason and no space", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    ("a reason that is not ASCII", b"HTTP/1.1 200 \xc3\xa4\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    ("an unknown status", b"HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok", 299, b"ok"),
    ("100 first", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    ("hints first", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 9\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    ("a hundred interim answers", b"HTTP/1.1 102 Processing\r\n\r\n" * 100 + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    ("leading zeros", OK + b"Content-Length: 0002\r\n\r\nok", 200, b"ok"),
    ("spaces around a length", OK + b"Content-Length: \t 2 \t\r\n\r\nok", 200, b"ok"),
    ("chunks", OK + b"transfer-ENCODING: Chunked\r\n\r\n1;a=b\r\no\r\n01\r\nk\r\n0\r\nX-Trailer: y\r\n\r\n", 200, b"ok"),
    ("an empty body in chunks", OK + CHUNKED + b"\r\n0\r\n\r\n", 200, b""),
    ("values that are not ASCII", OK + b"X: \xe4\xff\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    ("two hundred fields", OK + b"".join(b"X-%d: 1\r\n" % n for n in range(199)) + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    ("HTTP/1.0 with a length", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    ("a redirect", b"HTTP/1.1 307 Moved\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", 307, b""),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    ("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", 204, b""),
    ("304 with the length of what it is about", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 304, b""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "status", "body"), [row[1:] for row in PASSED_ON], ids=[row[0] for row in PASSED_ON]
)
@pytest.mark.parametrize("what_follows", [b"", FORGED, b"\r\n", b"\x00"])
@pytest.mark.parametrize("pace", ["at once", "byte by byte"])
async def test_passed_on_and_nothing_behind_it(
    raw: bytes, status: int, body: bytes, what_follows: bytes, pace: str
):
    data = raw + what_follows
    async with world() as here:
        replica = await answered_with(
            here, *([data] if pace == "at once" else [bytes([byte]) for byte in data])
        )
        async with here.raw() as client:
            await client.send(request("/default/mini/odd", body=b"x"))
            answer = await client.answer("POST")
            assert (answer.status, answer.body) == (status, body)
            if what_follows:
                await until(lambda: all(v.gone.is_set() for v in replica.visits if b"/odd" in v.raw))
            await client.send(request(body=b"mine"))
            if what_follows:
                assert (await client.answer("POST")).body == b"mine"


BODIES_THAT_MUST_NOT_BE = [
    ("HEAD", OK + b"Content-Length: %d\r\n\r\n" % len(FORGED)),
    ("HEAD", OK + CHUNKED + b"\r\n"),
    ("HEAD", OK + b"\r\n"),
    ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n" % len(FORGED)),
    ("GET", b"HTTP/1.1 204 No Content\r\n" + CHUNKED + b"\r\n"),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n" % len(FORGED)),
]


@pytest.mark.parametrize(("method", "head"), BODIES_THAT_MUST_NOT_BE)
async def test_a_body_where_none_may_be_is_dropped_with_its_connection(method: str, head: bytes):
    async with world() as here:
        replica = await answered_with(here, head + FORGED)
        async with here.raw() as client:
            await client.send(request("/default/mini/odd", method=method))
            answer = await client.answer(method)
            assert answer.body == b""
            await until(replica.visits[0].gone.is_set)
            await next_is_right(client, replica)


CUT: list[tuple[str, list[bytes]]] = [
    ("half a body of known length", [OK + b"Content-Length: 10\r\n\r\n", b"half"]),
    ("a body of which nothing comes", [OK + b"Content-Length: 10\r\n\r\n"]),
    ("half a chunk", [OK + CHUNKED + b"\r\n", b"9\r\nhalf"]),
    ("chunks without the last", [OK + CHUNKED + b"\r\n", b"4\r\nhalf\r\n"]),
    ("half of the last chunk", [OK + CHUNKED + b"\r\n", b"4\r\nhalf\r\n0\r\n"]),
    ("half a trailer", [OK + CHUNKED + b"\r\n", b"4\r\nhalf\r\n0\r\nX: y\r\n"]),
    ("a size that is no number", [OK + CHUNKED + b"\r\n4\r\nhalf\r\n", b"zz\r\n"]),
    ("a chunk longer than its size", [OK + CHUNKED + b"\r\n4\r\nhalf\r\n", b"1\r\nxyz\r\n"]),
    ("a chunk ended by bare LF", [OK + CHUNKED + b"\r\n4\r\nhalf\r\n", b"1\r\nx\n0\r\n\r\n"]),
    ("a trailer that frames", [OK + CHUNKED + b"\r\n4\r\nhalf\r\n", b"0\r\nTransfer-Encoding: x\r\n\r\n"]),
]


@pytest.mark.parametrize("pieces", [row[1] for row in CUT], ids=[row[0] for row in CUT])
@pytest.mark.parametrize("modern", [True, False])
async def test_cut_off_so_that_the_client_can_tell(pieces: list[bytes], modern: bool):
    reached = asyncio.Event()

    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.write(pieces[0])
        await reached.wait()
        for piece in pieces[1:]:
            await visit.write(piece)
        visit.close()

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream(), visibility=Visibility.PUBLIC))
        async with here.raw() as client:
            asking = request(method="GET", target="/default/mini/x")
            await client.send(asking if modern else asking.replace(b"HTTP/1.1", b"HTTP/1.0"))
            head = await client.head()
            reached.set()
            if modern or b"content-length" in head:
                body = await client.closed()
                assert b"0\r\n\r\n" not in body
                assert len(body) < 10 or b"chunked" in head
            else:  # an end by closing would look like a whole answer: only a reset tells
                with pytest.raises(ConnectionResetError):
                    await client.closed()
        assert here.load().in_flight == here.load().pending == 0


async def test_an_answer_that_ends_by_a_reset_instead_of_a_close_is_cut_too():
    reached = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\nhalf")
        await reached.wait()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, world() as here:
        port = server.sockets[0].getsockname()[1]
        await here.publish(route(Upstream("r", f"http://127.0.0.1:{port}")))
        async with here.raw() as client:
            await client.send(request("/default/mini/x", method="GET"))
            assert b"transfer-encoding: chunked" in await client.head()
            reached.set()
            assert await client.closed() == b"4\r\nhalf\r\n"


# -- what an answer may say to a browser on the public origin, and about the connection

FIELDS_THAT_GO = [
    b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authenticate", b"TE", b"Trailer", b"Upgrade", b"X-Inlet-Draining",
    b"Set-Cookie", b"Set-Cookie2", b"Strict-Transport-Security", b"Clear-Site-Data", b"Service-Worker-Allowed", b"Alt-Svc", b"NEL",
    b"Report-To", b"Reporting-Endpoints",
]  # fmt: skip


@pytest.mark.parametrize("name", FIELDS_THAT_GO)
async def test_fields_that_an_answer_loses(name: bytes):
    answer = (
        OK
        + b"Content-Length: 2\r\nX-Stays: 1\r\n"
        + (name + b": forged\r\n") * 2
        + name.upper()
        + b": forged\r\n\r\nok"
    )
    async with world() as here:
        await answered_with(here, answer, closes=True)
        got = await here.ask(request("/default/mini/odd", body=b"x"))
        assert got.body == b"ok"
        assert got.values("x-stays") == ["1"]
        assert "forged" not in [value for _, value in got.headers]


@pytest.mark.parametrize("named", [b"X-Hop", b"x-hop", b"close, X-HOP", b"keep-alive,x-hop ,, x-other"])
async def test_fields_that_connection_names_are_the_replicas_own_business(named: bytes):
    answer = OK + b"Content-Length: 2\r\nConnection: " + named + b"\r\nX-Hop: forged\r\nX-Stays: 1\r\n\r\nok"
    async with world() as here:
        await answered_with(here, answer, closes=True)
        got = await here.ask(request("/default/mini/odd", body=b"x"))
        assert (got.body, got.values("x-hop"), got.values("x-stays")) == (b"ok", [], ["1"])


@pytest.mark.parametrize(
    "named",
    [
        b"Content-Length",
        b"Transfer-Encoding",
        b"X-Request-Id",
        b"Content-Security-Policy",
        b"X-Content-Type-Options",
    ],
)
async def test_an_answer_cannot_take_away_what_the_router_says(named: bytes):
    async with world() as here:
        await answered_with(
            here, OK + b"Content-Length: 2\r\nConnection: " + named + b"\r\n\r\nok", closes=True
        )
        got = await here.ask(request("/default/mini/odd", body=b"x", extra=b"X-Request-Id: mine\r\n"))
        assert (got.body, got.values("content-length"), got.values("x-request-id")) == (
            b"ok",
            ["2"],
            ["mine"],
        )
        assert got.values("content-security-policy") == ["sandbox"]
        assert got.values("x-content-type-options") == ["nosniff"]


async def test_a_redirect_is_the_clients_to_follow_and_not_the_routers():
    async with world() as here:
        moved = b"HTTP/1.1 307 Moved\r\nLocation: /v2/endpoint/default\r\nContent-Length: 0\r\n\r\n"
        replica = await answered_with(here, moved, closes=True)
        assert (await here.ask(request("/default/mini/odd", body=b"x"))).values("location") == [
            "/v2/endpoint/default"
        ]
        assert len(replica.asked) == 1
        assert not here.control.asked


# -- answers that come early or late


@pytest.mark.parametrize("fields", [b"content-length: 300000\r\n", b"transfer-encoding: chunked\r\n"])
async def test_an_answer_before_the_body_was_read_ends_the_replicas_connection(fields: bytes):
    """What is left of the body must not become the beginning of the next request."""

    async def behave(asked: Asked, visit: Visit) -> None:
        if asked.target == "/early":
            await visit.answer(b"early", status=413)
            await visit.until_gone()
        else:
            await visit.answer(await visit.body())

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream(), visibility=Visibility.PUBLIC))
        async with here.raw() as client:
            await client.send(request("/default/mini/early", extra=fields))
            assert (await client.answer("POST")).status == 413
        assert (await here.ask(request(body=b"mine"))).body == b"mine"
        await until(replica.visits[0].gone.is_set)
        assert len(replica.visits) == 2
