"""One request and its answer through the router: what passes, what does not, in both directions."""

import asyncio

import pytest

from inlet.core.endpoint import State
from inlet.core.spec import Visibility
from tests.router.world import WITHIN, Asked, Visit, request, route, until, world


async def test_a_request_reaches_the_replica_and_its_answer_comes_back():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        answer = await here.ask(request("/default/mini/v1/x?q=1&q=2", body=b"hello"))
        assert (answer.status, answer.body) == (200, b"hello")
        assert (replica.asked[0].method, replica.asked[0].target) == ("POST", "/v1/x?q=1&q=2")


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ("/default/mini", "/"),
        ("/default/mini/", "/"),
        ("/default/mini?x=1", "/?x=1"),
        ("/default/mini//v1//chat", "/v1//chat"),
        ("/default/mini/a%2Fb%20c", "/a%2Fb%20c"),
        ("http://base/default/mini/abs", "/abs"),
    ],
)
async def test_the_name_is_taken_off_the_path(sent: str, received: str):
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        assert (await here.ask(request(sent, body=b"x"))).status == 200
        assert replica.asked[0].target == received


async def test_what_a_replica_sees_of_the_head():
    async with world(public_url="https://ml.example.com") as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        extra = (
            b"Cookie: a=b\r\nConnection: keep-alive, X-Secret\r\nX-Secret: hop\r\nTE: trailers\r\nUpgrade: h2c\r\n"
            b"Keep-Alive: 5\r\nProxy-Authorization: Basic x\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"
            b"X-Forwarded-Proto: gopher\r\nX-Real-IP: 6.6.6.6\r\nX-Request-Id: my-id.1\r\nX-Scale-Up-Timeout: 5\r\n"
            b"Accept: text/plain\r\nX-Twice: 1\r\nX-Twice: 2\r\n"
        )
        answer = await here.ask(request(body=b"x", extra=extra, host=b"base:80"))
        got = replica.asked[0]
        assert sorted(got.headers) == sorted(
            [
                ("host", "base:80"), ("accept", "text/plain"), ("x-twice", "1"), ("x-twice", "2"),
                ("content-length", "1"), ("x-request-id", "my-id.1"), ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-proto", "https"), ("x-forwarded-host", "base:80"),
            ]
        )  # fmt: skip
        assert answer.values("x-request-id") == ["my-id.1"]


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        (b"X-Amzn-Trace-Id: Root=1-67891233-abc\r\n", "Root=1-67891233-abc"),
        (b"X-Request-Id: spaces are odd\r\n", None),
        (b"X-Request-Id: " + b"x" * 129 + b"\r\n", None),
        (b"", None),
    ],
)
async def test_a_request_id_is_taken_over_when_it_is_plain(extra: bytes, kept: str | None):
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        answer = await here.ask(request(body=b"x", extra=extra))
        (id_,) = answer.values("x-request-id")
        assert replica.asked[0].values("x-request-id") == [id_]
        assert id_ == kept if kept else len(id_) == 32


NASTY = (
    b"Set-Cookie: a=b\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Inlet-Draining: 0\r\n"
    b"Strict-Transport-Security: max-age=1\r\nContent-Security-Policy: default-src *\r\nX-Custom: yes\r\n"
    b"X-Request-Id: forged\r\nClear-Site-Data: *\r\n"
)


async def test_an_answer_on_the_public_origin_is_sandboxed():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.answer(b"<script>", extra=NASTY)

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        answer = await here.ask(request(body=b"x", extra=b"X-Request-Id: mine\r\n"))
        assert sorted(answer.headers) == [
            ("content-length", "8"),
            ("content-security-policy", "sandbox"),
            ("x-content-type-options", "nosniff"),
            ("x-custom", "yes"),
            ("x-request-id", "mine"),
        ]


async def test_on_its_own_host_every_path_is_the_replicas_and_cookies_may_be_set():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.answer(b"x", extra=NASTY)

    async with world(base_domain="ml.test") as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream(), host="mini-1.ml.test"))
        for target in ("/healthz", "/v2/endpoint", "/", "/default/mini"):
            answer = await here.ask(request(target, body=b"x", host=b"MINI-1.ml.test:8080"))
            assert replica.asked[-1].target == target
            assert answer.values("set-cookie") == ["a=b"]
            assert not answer.values("x-hop")
            assert answer.values("content-security-policy") == ["default-src *"]
        assert not replica.asked[-1].values("authorization")
        assert (await here.ask(request("/", body=b"x", host=b"other-2.ml.test"))).status == 404


# -- framing


async def test_chunked_request_that_comes_whole_goes_on_with_its_length():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        data = (
            request(extra=b"Transfer-Encoding: chunked\r\n")
            + b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
        )
        answer = await here.ask(data)
        assert answer.body == b"abcde"
        assert replica.asked[0].values("content-length") == ["5"]
        assert not replica.asked[0].values("transfer-encoding")


async def test_a_body_is_streamed_on_before_it_is_complete():
    got: list[bytes] = []

    async def behave(asked: Asked, visit: Visit) -> None:
        async for piece in visit.pieces():
            got.append(piece)  # noqa: PERF401 - each is looked at as it comes
        await visit.answer(b"".join(got))

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(extra=b"Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n")
            await until(lambda: b"".join(got) == b"abc")
            assert replica.asked[0].values("transfer-encoding") == ["chunked"]
            await client.send(b"2\r\nde\r\n0\r\n\r\n")
            assert (await client.answer("POST")).body == b"abcde"
        got.clear()
        async with here.raw() as client:
            await client.send(request(extra=b"Content-Length: 5\r\n") + b"abc")
            await until(lambda: b"".join(got) == b"abc")
            assert replica.asked[1].values("content-length") == ["5"]
            await client.send(b"de")
            assert (await client.answer("POST")).body == b"abcde"


async def test_an_event_stream_is_passed_on_event_by_event():
    release = asyncio.Event()

    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        await visit.write(b"9\r\ndata: 1\n\n\r\n")
        await release.wait()
        await visit.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(body=b"x"))
            assert b"transfer-encoding: chunked" in await client.head()
            first = await asyncio.wait_for(client.reader.readexactly(len(b"9\r\ndata: 1\n\n\r\n")), WITHIN)
            assert first == b"9\r\ndata: 1\n\n\r\n"
            release.set()
            rest = await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), WITHIN)
            assert b"data: 2" in rest
            await client.send(request(body=b"again"))
            await until(lambda: len(replica.asked) == 2)
        assert len(replica.visits) == 1  # the connection was kept


async def test_an_answer_that_ends_with_its_connection():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.write(b"HTTP/1.0 200 OK\r\n\r\nall of ")
        await visit.write(b"it")
        visit.close()

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            for _ in range(2):
                await client.send(request(body=b"x"))
                assert (await client.answer("POST")).body == b"all of it"
            await client.send(b"POST /default/mini HTTP/1.0\r\nauthorization: Bearer inlet_caller\r\n\r\n")
            assert (await client.closed()).endswith(b"\r\n\r\nall of it")


@pytest.mark.parametrize(
    ("method", "status", "head"),
    [
        ("HEAD", 200, b"content-length: 1000\r\n"),
        ("HEAD", 200, b"transfer-encoding: chunked\r\n"),
        ("GET", 204, b""),
        ("GET", 304, b"content-length: 10\r\netag: x\r\n"),
    ],
)
async def test_answers_without_a_body(method: str, status: int, head: bytes):
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.write(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, head))

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            for _ in range(2):
                await client.send(request("/default/mini/x", method=method))
                answer = await client.answer(method)
                assert (answer.status, answer.body) == (status, b"")
        assert len(replica.visits) == 1


async def test_interim_answers_are_dropped():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await visit.answer(b"final")

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(body=b"x"))
            assert (await client.head()).startswith(b"HTTP/1.1 200 ")


async def test_expect_continue_is_answered_by_the_router():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(extra=b"Content-Length: 3\r\nExpect: 100-continue\r\n"))
            assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"abc")
            assert (await client.answer("POST")).body == b"abc"
            assert not replica.asked[0].values("expect")
        async with here.raw() as client:
            await client.send(request(secret=None, extra=b"Content-Length: 3\r\nExpect: 100-continue\r\n"))
            assert (await client.answer("POST")).status == 401
            assert await client.closed() == b""


# -- connections


async def test_http_1_0_clients():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream(), visibility=Visibility.PUBLIC))
        async with here.raw() as client:
            await client.send(b"GET /default/mini/x HTTP/1.0\r\n\r\n")
            answer = await client.answer()
            assert (answer.body, answer.values("connection")) == (b"ok", ["close"])
            assert await client.closed() == b""
        async with here.raw() as client:
            for _ in range(2):
                await client.send(b"GET /default/mini/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert (await client.answer()).values("connection") == ["keep-alive"]


async def test_pipelined_requests_are_answered_in_order_one_at_a_time():
    busy = 0

    async def behave(asked: Asked, visit: Visit) -> None:
        nonlocal busy
        busy += 1
        assert busy == 1
        body = await visit.body()
        await asyncio.sleep(0)
        busy -= 1
        await visit.answer(body)

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            bodies = [b"%d" % number for number in range(100)]
            await client.send(b"".join(request(body=body) for body in bodies))
            assert [(await client.answer("POST")).body for _ in bodies] == bodies
            # Also when the router answers by itself, many times in a row.
            await client.send(request("/nobody/knows", body=b"x") * 200 + request(body=b"last"))
            answers = [await client.answer("POST") for _ in range(201)]
            assert [a.status for a in answers] == [404] * 200 + [200]
        assert len(replica.visits) == 1


async def test_connection_close_is_obeyed():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(body=b"x", extra=b"Connection: close\r\n") + request(body=b"never"))
            assert (await client.answer("POST")).values("connection") == ["close"]
            await client.closed()
        assert len(replica.asked) == 1


async def test_a_replica_that_closes_after_each_answer():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.answer(await visit.body(), extra=b"connection: close\r\n")
        visit.close()

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            for number in range(20):
                await client.send(request(body=b"%d" % number))
                assert (await client.answer("POST")).body == b"%d" % number


async def test_a_replica_reached_over_tcp():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntcp")

    from inlet.core.routes import Upstream

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, world() as here:
        port = server.sockets[0].getsockname()[1]
        await here.publish(route(Upstream("r", f"http://127.0.0.1:{port}")))
        assert (await here.ask(request("/default/mini/x", method="GET"), "GET")).body == b"tcp"


# -- big bodies


async def test_a_large_body_is_not_held_in_memory_when_the_replica_reads_slowly():
    go_on = asyncio.Event()

    async def behave(asked: Asked, visit: Visit) -> None:
        await go_on.wait()
        size = 0
        async for piece in visit.pieces():
            size += len(piece)
        await visit.answer(b"%d" % size)

    size = 30_000_000
    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(extra=b"content-length: %d\r\n" % size))
            sending = asyncio.create_task(client.send(b"x" * size))
            await until(lambda: replica.asked)
            connection = next(iter(here.router._connections.open))
            await until(lambda: connection._paused)
            upstream = connection._exchange._connection
            assert upstream._transport.get_write_buffer_size() < 1_000_000
            go_on.set()
            assert (await client.answer("POST")).body == b"%d" % size
            await sending


async def test_a_large_answer_is_not_held_in_memory_when_the_client_reads_slowly():
    size = 30_000_000

    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.answer(b"y" * size)

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            client.writer.transport.pause_reading()
            await client.send(request(body=b"x"))
            await until(
                lambda: here.router._connections.open and next(iter(here.router._connections.open))._blocked
            )
            connection = next(iter(here.router._connections.open))
            assert connection._transport.get_write_buffer_size() < 1_000_000
            client.writer.transport.resume_reading()
            assert len((await client.answer("POST")).body) == size
            await client.send(request(body=b"x"))
            assert len((await client.answer("POST")).body) == size


async def test_an_idle_connection_does_not_hold_on_to_its_last_request():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(body=b"x" * 10_000))  # comes in one piece
            await client.answer()
            (connection,) = here.router._connections.open
            assert connection._buffer == b""


async def test_a_body_over_the_limit_is_refused_and_the_client_can_read_why():
    async with world(max_body_bytes=1_000_000) as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(extra=b"content-length: 5000000\r\n"))
            client.writer.write(b"x" * 5_000_000)
            answer = await client.answer("POST")
            assert answer.status == 413
            assert "1000000" in answer.json()["error"]
        assert not replica.asked
        async with here.raw() as client:
            await client.send(request(extra=b"transfer-encoding: chunked\r\n"))
            client.writer.write(b"80000\r\n" + b"x" * 0x80000 + b"\r\n")
            client.writer.write(b"80000\r\n" + b"x" * 0x80000 + b"\r\n")
            assert (await client.answer("POST")).status == 413
            await client.closed()


async def test_an_answer_that_comes_before_the_body_is_complete():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.answer(b"no", status=413)
        visit.close()

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(extra=b"content-length: 500000\r\n"))
            assert (await client.answer("POST")).status == 413
            client.writer.write(b"x" * 500_000)
            await client.closed()
        async with (
            here.raw() as client
        ):  # little is left of the body: it is skipped, and the connection stays
            await client.send(request(extra=b"content-length: 6\r\n") + b"abc")
            assert (await client.answer("POST")).status == 413
            await client.send(b"def" + request("/nobody/knows", body=b"x"))
            assert (await client.answer("POST")).status == 404


async def test_states_that_serve():
    async with world() as here:
        replica = await here.replica()
        for state in (State.RUNNING, State.UPDATING, State.UPDATE_FAILED, State.INITIALIZING):
            await here.publish(route(replica.upstream(), state=state))
            assert (await here.ask(request(body=b"x"))).status == 200
