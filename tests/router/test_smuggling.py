"""What reaches a replica when a request is made to be read in two ways: always whole requests, each once, and nothing else.

The replica keeps every byte that it got. `read_with_httptools`, which most replicas use, must find in them exactly the requests
that the client was answered for.
"""

import asyncio

import pytest

from inlet.core.spec import Visibility
from inlet.router.body import LAST_CHUNK, chunk
from tests.router.oracles import read_with_httptools
from tests.router.world import SECRET, Asked, Raw, Server, Visit, World, request, route, until, world

H = b"Host: base\r\nAuthorization: Bearer inlet_caller\r\n"
HIDDEN = b"GET /default/mini/hidden HTTP/1.1\r\nHost: base\r\nX-Hidden: 1\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def post(fields: bytes, body: bytes) -> bytes:
    return b"POST /default/mini/first HTTP/1.1\r\n" + H + fields + b"\r\n" + body


def length(of: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(of)


def chunked(body: bytes) -> bytes:
    return chunk(body) + LAST_CHUNK


async def private(here: World) -> Server:
    replica = await here.replica()
    await here.publish(route(replica.upstream()))
    return replica


def received(replica: Server) -> list[tuple[bytes, bytes]]:
    """Target and body of each request that the replica's bytes hold; each must be whole."""
    messages = [message for visit in replica.visits for message in read_with_httptools(visit.raw)]
    assert all(message["complete"] for message in messages)
    for message in messages:
        names = [name for name, _ in message["fields"]]
        assert (names.count(b"host"), names.count(b"x-request-id")) == (1, 1)
        assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    return [(message["target"], message["body"]) for message in messages]


NEVER_SENT_ON: list[tuple[str, bytes]] = [
    ("CL.TE", post(length(chunked(b"") + HIDDEN) + CHUNKED, chunked(b"") + HIDDEN)),
    ("TE.CL", post(CHUNKED + b"Content-Length: 4\r\n", chunked(HIDDEN))),
    ("TE.CL with a zero length", post(CHUNKED + b"Content-Length: 0\r\n", chunked(b"x") + HIDDEN)),
    ("TE.TE, the second unknown", post(CHUNKED + b"Transfer-Encoding: x\r\n", chunked(b"") + HIDDEN)),
    ("TE.TE, the first unknown", post(b"Transfer-Encoding: x\r\n" + CHUNKED, chunked(b"") + HIDDEN)),
    ("TE.TE in one field", post(b"Transfer-Encoding: x, chunked\r\n", chunked(b"") + HIDDEN)),
    ("an encoding behind a folded line", post(length(HIDDEN) + b"X: y\r\n " + CHUNKED, HIDDEN)),
    ("an encoding behind a bare LF", post(length(HIDDEN) + b"X: y\n" + CHUNKED, HIDDEN)),
    ("an encoding behind a bare CR", post(length(HIDDEN) + b"X: y\r" + CHUNKED, HIDDEN)),
    ("an encoding with a space before the colon", post(length(HIDDEN) + b"Transfer-Encoding : chunked\r\n", HIDDEN)),
    ("an encoding behind NUL", post(length(HIDDEN) + b"Transfer-Encoding: \x00chunked\r\n", HIDDEN)),
    ("an encoding behind a form feed", post(length(HIDDEN) + b"Transfer-Encoding: \x0cchunked\r\n", HIDDEN)),
    ("CL.CL, the smaller first", post(b"Content-Length: 0\r\n" + length(HIDDEN), HIDDEN)),
    ("CL.CL, the smaller last", post(length(HIDDEN) + b"Content-Length: 0\r\n", HIDDEN)),
    ("CL.CL in one field", post(b"Content-Length: 0, %d\r\n" % len(HIDDEN), HIDDEN)),
    ("a length behind a plus", post(b"Content-Length: +%d\r\n" % len(HIDDEN), HIDDEN)),
    ("a chunk ended by a bare LF", post(CHUNKED, b"1\r\nx\n0\r\n\r\n" + HIDDEN)),
    ("a chunk ended by two bytes that are no line end", post(CHUNKED, b"1\r\nxXX0\r\n\r\n" + HIDDEN)),
    ("a chunk's line ended by a bare LF in its extension", post(CHUNKED, b"2;\nxx\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN))),
    ("a chunk's line ended by a bare CR", post(CHUNKED, b"1\rx\r\n0\r\n\r\n" + HIDDEN)),
    ("a last chunk ended by a bare LF", post(CHUNKED, b"0\n\n" + HIDDEN)),
    ("a chunk's size of more than 64 bits", post(CHUNKED, b"10000000000000000\r\n" + HIDDEN)),
    ("a chunk's size behind 0x", post(CHUNKED, b"0x0\r\n\r\n" + HIDDEN)),
    ("a trailer that is a request", post(CHUNKED, b"0\r\n" + HIDDEN)),
    ("a trailer that frames", post(CHUNKED, b"0\r\n" + length(HIDDEN) + b"\r\n" + HIDDEN)),
    ("an HTTP/1.0 request in chunks", b"POST /default/mini HTTP/1.0\r\n" + H + CHUNKED + b"\r\n" + chunked(b"") + HIDDEN),
    ("a line end in the target", b"GET /default/mini/x\r\nX: y HTTP/1.1\r\n" + H + b"\r\n" + HIDDEN),
    ("a request line with a request in it", b"GET /default/mini HTTP/1.1 \r\n" + H + b"\r\n" + HIDDEN),
]  # fmt: skip


@pytest.mark.parametrize("data", [row[1] for row in NEVER_SENT_ON], ids=[row[0] for row in NEVER_SENT_ON])
async def test_what_could_be_read_in_two_ways_never_becomes_a_second_request(data: bytes):
    async with world() as here:
        replica = await private(here)
        await here.ask(request("/default/mini/before", body=b"before"))
        async with here.raw() as client:
            await client.send(data + request("/default/mini/behind", body=b"behind"))
            assert (await client.answer("POST")).status == 400
            assert await client.closed() == b""
        after = await here.ask(request("/default/mini/after", body=b"after"))
        assert after.body == b"after"
        # A request whose head was good may have begun; what there is of it must end with its connection.
        whole = [visit for visit in replica.visits if not visit.raw.startswith(b"POST /first")]
        begun = [visit for visit in replica.visits if visit not in whole]
        assert all(b"hidden" not in visit.raw and b"behind" not in visit.raw for visit in begun)
        await until(lambda: all(visit.gone.is_set() for visit in begun))
        replica.visits = whole
        assert received(replica) == [(b"/before", b"before"), (b"/after", b"after")]


SENT_ON_AS_A_BODY: list[tuple[str, bytes, bytes]] = [
    ("a request as a body", post(length(HIDDEN), HIDDEN), HIDDEN),
    ("a request as a GET's body", post(length(HIDDEN), HIDDEN).replace(b"POST", b"GET", 1), HIDDEN),
    ("a request in a chunk", post(CHUNKED, chunked(HIDDEN)), HIDDEN),
    ("a last chunk inside a chunk", post(CHUNKED, chunked(b"0\r\n\r\n" + HIDDEN)), b"0\r\n\r\n" + HIDDEN),
    ("chunks as a body of known length", post(length(chunked(HIDDEN)), chunked(HIDDEN)), chunked(HIDDEN)),
    ("a length that Connection names", post(b"Connection: Content-Length\r\n" + length(HIDDEN), HIDDEN), HIDDEN),
    ("an encoding that Connection names", post(b"Connection: Transfer-Encoding, close-not\r\n" + CHUNKED, chunked(HIDDEN)), HIDDEN),
    ("names that a gateway could take for framing", post(b"Content_Length: 0\r\nTransfer_Encoding: chunked\r\n" + length(HIDDEN), HIDDEN), HIDDEN),
    ("a length that is overridden", post(b"X-HTTP-Method-Override: GET\r\n" + length(HIDDEN), HIDDEN), HIDDEN),
    ("a request in an extension", post(CHUNKED, b'1;a="GET /hidden HTTP/1.1"\r\nx\r\n0\r\n\r\n'), b"x"),
    ("a request in a trailer's value", post(CHUNKED, b"1\r\nx\r\n0\r\nX: GET /hidden HTTP/1.1\r\n\r\n"), b"x"),
    ("nothing, in chunks", post(CHUNKED, b"0\r\n\r\n"), b""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "body"), [row[1:] for row in SENT_ON_AS_A_BODY], ids=[row[0] for row in SENT_ON_AS_A_BODY]
)
@pytest.mark.parametrize("pace", ["at once", "byte by byte"])
async def test_what_looks_like_a_request_inside_a_body_stays_a_body(data: bytes, body: bytes, pace: str):
    async with world() as here:
        replica = await private(here)
        async with here.raw() as client:
            stream = data + request("/default/mini/behind", body=b"behind") + data
            for piece in [stream] if pace == "at once" else [bytes([byte]) for byte in stream]:
                client.writer.write(piece)
                await asyncio.sleep(0)
            for _ in range(3):
                assert (await client.answer("POST")).status == 200
        assert received(replica) == [(b"/first", body), (b"/behind", b"behind"), (b"/first", body)]


# -- pipelining


@pytest.mark.parametrize("pace", ["at once", "in odd pieces"])
async def test_many_requests_sent_ahead_are_each_answered_once_and_in_order(pace: str):
    """Bodies of every framing, answers of the router and of the replica, one after another on one connection."""
    sent: list[tuple[bytes, int, bytes]] = []
    for number in range(60):
        body = b"%d" % number * (number % 7)
        sent += [
            (request(f"/default/mini/{number}", body=body), 200, body or b"ok"),
            (request(f"/default/mini/{number}c", extra=CHUNKED) + chunked(b"c" + body), 200, b"c" + body),
            (request(f"/nobody/{number}", body=body), 404, b""),
            (request(f"/default/mini/{number}", secret="wrong", body=body), 401, b""),
            (request(f"/default/mini/{number}g", method="GET"), 200, b"ok"),
        ]
    async with world() as here:
        replica = await private(here)
        async with here.raw() as client:
            stream = b"".join(data for data, _, _ in sent)
            size = len(stream) if pace == "at once" else 97
            sending = asyncio.create_task(send_in_pieces(client, stream, size))
            for _, status, body in sent:
                answer = await client.answer("POST")
                assert answer.status == status
                assert answer.body == body or status != 200
            await sending
        assert len(received(replica)) == sum(status == 200 for _, status, _ in sent)


async def send_in_pieces(client: Raw, stream: bytes, size: int) -> None:
    for start in range(0, len(stream), size):
        await client.send(stream[start : start + size])
        await asyncio.sleep(0)


async def test_a_broken_request_in_the_middle_ends_the_connection_after_the_answers_before_it():
    async with world() as here:
        replica = await private(here)
        async with here.raw() as client:
            good, bad = request(body=b"good"), b"GET /default/mini HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
            await client.send(good + good + bad + good * 20)
            assert [(await client.answer("POST")).status for _ in range(3)] == [200, 200, 400]
            assert await client.closed() == b""
        assert len(received(replica)) == 2


async def test_a_body_that_breaks_in_the_middle_ends_all_that_is_behind_it():
    async with world() as here:
        replica = await private(here)
        async with here.raw() as client:
            good, bad = request(body=b"good"), request(extra=CHUNKED) + b"1\r\nx\r\nzz\r\n"
            await client.send(good + bad + good * 20)
            assert [(await client.answer("POST")).status for _ in range(2)] == [200, 400]
            assert await client.closed() == b""
        assert len(replica.asked) <= 2


# -- what a replica must never see, and what only the router may say


@pytest.mark.parametrize("visibility", [Visibility.PRIVATE, Visibility.PUBLIC])
@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"AUTHORIZATION", b"aUtHoRiZaTiOn"])
async def test_the_callers_token_never_reaches_a_replica(name: bytes, visibility: Visibility):
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream(), visibility=visibility))
        secret = SECRET.encode()
        fields = (
            name + b": Bearer " + secret + b"\r\nProxy-Authorization: Bearer " + secret + b"\r\n"
            b"Cookie: token="
            + secret
            + b"\r\nCookie2: "
            + secret
            + b"\r\nConnection: X-Token\r\nX-Token: "
            + secret
            + b"\r\n"
        )
        for data in (
            request(secret=None, extra=fields, body=b"x"),
            request(secret=None, extra=fields + CHUNKED) + chunked(b"x"),
            request(secret=None, extra=fields + b"Connection: Authorization\r\n", body=b"x"),
        ):
            assert (await here.ask(data)).status == 200
        assert all(secret not in visit.raw for visit in replica.visits)


@pytest.mark.parametrize(
    "target",
    [
        "/default/mini?token=inlet_caller",
        "/default/mini?access_token=inlet_caller",
        "/default/mini?Authorization=Bearer%20inlet_caller",
    ],
)
async def test_a_token_in_the_query_is_no_token(target: str):
    async with world() as here:
        replica = await private(here)
        assert (await here.ask(request(target, secret=None, body=b"x"))).status == 401
        cookie = b"Cookie: Authorization=Bearer inlet_caller\r\n"
        assert (await here.ask(request(target, secret=None, body=b"x", extra=cookie))).status == 401
        assert not replica.asked


SPOOFED = [
    b"X-Forwarded-For", b"x-forwarded-for", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Forwarded-Port",
    b"X-Forwarded-Prefix", b"X-Forwarded-Server", b"X-Real-IP", b"Forwarded", b"X-Inlet-Draining", b"X-Scale-Up-Timeout",
    b"Proxy-Connection", b"Keep-Alive", b"TE", b"Trailer", b"Upgrade", b"HTTP2-Settings", b"Expect",
]  # fmt: skip


@pytest.mark.parametrize("name", SPOOFED)
async def test_fields_that_only_the_router_may_set(name: bytes):
    async with world() as here:
        replica = await private(here)
        await here.publish(route(replica.upstream(), visibility=Visibility.PUBLIC))
        value = {b"Expect": b"100-continue", b"X-Scale-Up-Timeout": b"7"}.get(name, b"6.6.6.6")
        field = name + b": " + value + b"\r\n"
        for upstream, target in ((replica, "/default/mini"), (here.control, "/v2/endpoint/default")):
            answer = await here.ask(request(target, extra=field + field.replace(b"6.6", b"7.7"), body=b"x"))
            assert answer.status == 200
            ours = {
                "x-forwarded-for": ["127.0.0.1"],
                "x-forwarded-host": ["base"],
                "x-forwarded-proto": ["http"],
            }
            assert upstream.asked[-1].values(name.decode().lower()) == ours.get(name.decode().lower(), [])
            assert len(upstream.asked[-1].values("x-request-id")) == 1


@pytest.mark.parametrize(
    "name",
    [b"Host", b"X-Forwarded-For", b"X-Request-Id", b"Content-Length", b"Authorization", b"Transfer-Encoding"],
)
async def test_a_caller_cannot_take_away_what_the_router_says_by_naming_it_in_connection(name: bytes):
    async with world() as here:
        replica = await private(here)
        answer = await here.ask(request(extra=b"Connection: keep-alive, " + name + b"\r\n", body=b"hello"))
        assert (answer.status, answer.body) == (200, b"hello")
        got = replica.asked[0]
        assert got.values("host") == ["base"]
        assert got.values("x-forwarded-for") == ["127.0.0.1"]
        assert got.values("content-length") == ["5"]
        assert len(got.values("x-request-id")) == 1


async def test_two_callers_with_the_same_words_are_still_two_callers():
    """Nothing of one request's answer, address or id may be remembered for the next that looks the same."""
    async with world() as here:
        replica = await private(here)
        ids = set()
        for host in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port, local_addr=(host, 0))
            writer.write(request(body=host.encode()))
            head = await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(host)) == host.encode()
            assert replica.asked[-1].values("x-forwarded-for") == [host]
            (id_,) = replica.asked[-1].values("x-request-id")
            assert id_.encode() in head
            ids.add(id_)
            writer.close()
        assert len(ids) == 3


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "127.0.0.1:6379",
        "metadata.google.internal",
        "[::ffff:127.0.0.1]:22",
        "localhost",
        "mini.base",
    ],
)
async def test_a_host_never_chooses_what_the_router_connects_to(host: str):
    async with world() as here:
        replica = await private(here)
        for target in ("/", f"http://{host}/", "/latest/meta-data", f"http://{host}/latest/meta-data"):
            answer = await here.ask(request(target, method="GET", host=host.encode()), "GET")
            assert answer.status in (200, 404)  # control's own page, or nobody's
        assert all(asked.target == "/" for asked in here.control.asked)
        assert not replica.asked


# -- ends


async def test_what_a_client_sends_after_its_last_answer_goes_nowhere():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.answer(await visit.body())

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        for last in (
            b"Connection: close\r\n",
            b"Connection: x, CLOSE\r\n",
            b"Connection: x\r\nConnection: close\r\n",
        ):
            async with here.raw() as client:
                await client.send(request(body=b"last", extra=last) + HIDDEN * 50)
                assert (await client.answer("POST")).body == b"last"
                assert await client.closed() == b""
        assert [target for target, _ in received(replica)] == [b"/"] * 3


async def test_a_chunk_that_promises_more_than_a_body_may_have_ends_at_the_limit():
    async with world(max_body_bytes=100_000) as here:
        replica = await private(here)
        async with here.raw() as client:
            await client.send(request(extra=CHUNKED) + b"ffffffffffffffff\r\n" + b"x" * 100_001)
            assert (await client.answer("POST")).status == 413
            assert await client.closed() == b""
        await until(lambda: all(visit.gone.is_set() for visit in replica.visits))
        assert here.load().pending == 0


async def test_chunks_without_end_are_read_no_further_than_a_body_may_go():
    async with world(max_body_bytes=100_000) as here:
        await private(here)
        async with here.raw() as client:
            await client.send(request(extra=CHUNKED))
            flood = asyncio.create_task(client.send(b"1\r\nx\r\n" * 120_000))
            assert (await client.answer("POST")).status == 413
            await client.closed()
            flood.cancel()
