"""Replicas that die, close, drain, refuse or talk nonsense, and clients that leave: what is repeated and what is not."""

import asyncio
from pathlib import Path

import pytest

from inlet.core.routes import Upstream
from inlet.router.reach import REPEAT_AFTER_S
from tests.router.world import WITHIN, Asked, Visit, request, route, until, world
from tests.system import reserved_port

BIG = b"x" * 70_000


async def test_a_request_on_a_connection_that_was_closed_while_idle_is_repeated():
    async with world() as here:
        replica = await here.replica()

        async def behave(asked: Asked, visit: Visit) -> None:
            body = await visit.body()
            if len(replica.asked) == 2:
                visit.abort()  # reused, and closed before any byte of an answer
            else:
                await visit.answer(body)

        replica.behave = behave
        await here.publish(route(replica.upstream()))
        for body in (b"first", b"second"):
            assert (await here.ask(request(body=body))).body == body
        assert len(replica.asked) == 3
        assert len(replica.visits) == 2
        assert here.load().stats.repeated == 1


async def test_a_request_that_a_replica_took_to_its_grave_is_repeated():
    async def behave(asked: Asked, visit: Visit) -> None:
        body = await visit.body()
        if len(replica.asked) == 1:
            visit.abort()  # on its first connection: it did read the request
        else:
            await visit.answer(body)

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        assert (await here.ask(request(body=b"x"))).body == b"x"
        assert len(replica.asked) == 2
        assert here.load().stats.repeated == 1


async def test_the_only_replica_is_given_a_moment_to_be_gone_before_the_repeat():
    """A process that dies may close its listener last: a repeat at once would be lost as well."""
    at: list[float] = []

    async def behave(asked: Asked, visit: Visit) -> None:
        at.append(asyncio.get_running_loop().time())
        visit.abort()

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        assert (await here.ask(request(body=b"x"))).status == 502
        first, second = at
        assert second - first > 0.9 * REPEAT_AFTER_S


async def test_a_request_that_control_may_have_read_is_not_repeated():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.body()
        visit.abort()

    async with world() as here:
        here.control.behave = behave
        answer = await here.ask(request("/v2/endpoint/default", body=b"{}"))
        assert (answer.status, answer.json()["error"]) == (502, "control did not answer")
        assert len([asked for asked in here.control.asked if asked.method == "POST"]) == 1


async def test_what_control_has_begun_is_not_repeated():
    async def behave(asked: Asked, visit: Visit) -> None:
        body = await visit.body()
        if len(here.control.asked) == 1:
            await visit.answer(body)
            return
        await visit.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        visit.close()

    async with world() as here:
        here.control.asked.clear()
        here.control.behave = behave
        for status in (200, 502):
            answer = await here.ask(request("/v2/endpoint/default", body=b"{}"))
            assert answer.status == status
        assert len(here.control.asked) == len(here.control.visits) + 1 == 2, "on a connection that was kept"


async def test_the_repeat_prefers_another_replica():
    async with world() as here:

        async def once(asked: Asked, visit: Visit) -> None:
            if len(bad.asked) == 1:
                await visit.answer(await visit.body())
            else:
                visit.abort()

        async def say_good(asked: Asked, visit: Visit) -> None:
            await visit.answer(b"good")

        bad = await here.replica("bad", once)
        good = await here.replica("good", say_good)
        await here.publish(route(bad.upstream()))
        await here.ask(request(body=b"warm"))
        await here.publish(route(bad.upstream(), good.upstream()))
        async with asyncio.timeout(WITHIN):
            while len(bad.asked) < 2:
                answer = await here.ask(request(body=b"x"))
        assert (answer.status, answer.body) == (200, b"good")
        assert here.load().stats.repeated == 1


@pytest.mark.parametrize("what", ["part of a head", "big", "twice"])
async def test_what_is_not_repeated_is_502_with_the_state(what: str):
    async def behave(asked: Asked, visit: Visit) -> None:
        body = await visit.body()
        if asked.target == "/warm" and len(replica.asked) == 1:
            await visit.answer(body)
            return
        if what == "part of a head":
            await visit.write(b"HTTP/1.1 2")
        visit.close()

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        assert (await here.ask(request("/default/mini/warm", body=b"x"))).status == 200
        before = len(replica.asked)
        answer = await here.ask(request(body=BIG if what == "big" else b"x"))
        assert answer.status == 502
        assert answer.json()["state"] == "running"
        assert answer.json()["retry_after"] == 1.0
        assert answer.values("retry-after") == ["1"]
        assert len(replica.asked) - before == (2 if what == "twice" else 1)
        assert here.load().pending == here.load().in_flight == 0
        assert all(peer.outstanding == 0 for peer in here.router.context.balance.all())


async def test_a_big_body_never_rides_on_a_connection_that_may_be_closing():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        assert (await here.ask(request(body=b"small"))).status == 200
        assert (await here.ask(request(body=BIG))).body == BIG
        assert len(replica.visits) == 2


async def test_an_unasked_answer_on_an_idle_connection_ends_it():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        await here.ask(request(body=b"x"))
        await replica.visits[0].write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")
        await until(replica.visits[0].gone.is_set)
        assert (await here.ask(request(body=b"mine"))).body == b"mine"


# -- replicas that cannot be reached


async def test_another_replica_answers_for_one_that_cannot_be_reached():
    async with world() as here:
        gone = Upstream("gone", f"unix:{here.folder}/nothing")
        replica = await here.replica()
        await here.publish(route(gone, replica.upstream()))
        for _ in range(20):
            assert (await here.ask(request(body=b"x"))).status == 200


async def test_a_killed_replica_alone_is_waited_for():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        await here.ask(request(body=b"x"))
        await replica.stop()
        async with here.raw() as client:
            await client.send(request(body=b"patient"))
            await until(lambda: here.load().waiting == 1)
            other = await here.replica("other")
            await here.publish(route(replica.upstream(), other.upstream()))
            assert (await client.answer("POST")).body == b"patient"


async def test_a_replica_that_comes_back_on_its_address_is_found_again():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        await replica.stop()
        clients = [here.raw() for _ in range(5)]
        for client in clients:
            await client.__aenter__()
            await client.send(request(body=b"patient"))
        await until(lambda: here.load() and here.load().waiting == 5)
        async with replica:
            for client in clients:
                assert (await client.answer("POST")).body == b"patient"
                await client.__aexit__(None, None, None)


async def test_who_does_not_wait_for_an_unreachable_replica_hears_so_at_once():
    async with world() as here:
        await here.publish(route(Upstream("gone", f"unix:{here.folder}/nothing")))
        answer = await here.ask(request(body=b"x", extra=b"X-Scale-Up-Timeout: 0\r\n"))
        assert (answer.status, answer.json()["state"]) == (503, "running")
        assert (await here.ask(request("/default/mini/health", method="GET"), "GET")).status == 503


async def test_a_refused_tcp_port():
    with reserved_port() as port:
        async with world() as here:
            replica = await here.replica()
            await here.publish(route(Upstream("gone", f"http://127.0.0.1:{port}"), replica.upstream()))
            for _ in range(10):
                assert (await here.ask(request(body=b"x"))).status == 200


# -- draining and balance


async def test_a_draining_replica_is_not_chosen_again():
    async def draining(asked: Asked, visit: Visit) -> None:
        await visit.answer(await visit.body(), extra=b"X-Inlet-Draining: 1\r\nConnection: close\r\n")

    async with world() as here:
        leaving = await here.replica("leaving", draining)
        await here.publish(route(leaving.upstream()))
        answer = await here.ask(request(body=b"x"))
        assert not answer.values("x-inlet-draining")
        assert (await here.ask(request(body=b"x"))).status == 200  # there is no other
        staying = await here.replica("staying")
        await here.publish(route(leaving.upstream(), staying.upstream()))
        for _ in range(20):
            assert (await here.ask(request(body=b"x"))).status == 200
        assert (len(leaving.asked), len(staying.asked)) == (2, 20)
        # The mark goes with the replica: a new one on the same socket is a new one.
        await here.publish(route(leaving.upstream("next"), staying.upstream()))
        await until_used(here, leaving, more_than=2)


async def until_used(here, server, *, more_than: int) -> None:
    async with asyncio.timeout(WITHIN):
        while len(server.asked) <= more_than:
            await here.ask(request(body=b"x"))


async def test_connections_to_a_replica_that_left_the_table_are_closed():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        await here.ask(request(body=b"x"))
        await here.publish(route())
        await until(replica.visits[0].gone.is_set)


async def test_the_less_loaded_of_two_is_chosen():
    release = asyncio.Event()

    async def slow(asked: Asked, visit: Visit) -> None:
        await release.wait()
        await visit.answer()

    async with world() as here:
        one, two = await here.replica("one", slow), await here.replica("two", slow)
        await here.publish(route(one.upstream(), two.upstream()))
        clients = [here.raw() for _ in range(10)]
        for number, client in enumerate(clients):
            await client.__aenter__()
            await client.send(request(body=b"x"))
            await until(lambda wanted=number + 1: len(one.asked) + len(two.asked) == wanted)
        assert (len(one.asked), len(two.asked)) == (5, 5)
        release.set()
        for client in clients:
            await client.answer("POST")
            await client.__aexit__(None, None, None)


async def test_requests_spread_over_many_replicas():
    async with world() as here:
        replicas = [await here.replica(str(number)) for number in range(4)]
        await here.publish(route(*(replica.upstream() for replica in replicas)))
        for _ in range(100):
            await here.ask(request(body=b"x"))
        assert all(replica.asked for replica in replicas)


# -- clients that leave


@pytest.mark.parametrize("how", ["close", "abort", "half-close"])
@pytest.mark.parametrize("when", ["before", "during"])
async def test_a_client_that_leaves_closes_the_replicas_connection(how: str, when: str):
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.body()
        if when == "during":
            await visit.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        started.set()
        await visit.until_gone()

    started = asyncio.Event()
    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(body=b"x"))
            await started.wait()
            {"close": client.writer.close, "abort": client.abort, "half-close": client.writer.write_eof}[
                how
            ]()
            await until(replica.visits[0].gone.is_set)
        await until(lambda: here.load().pending == 0)
        assert here.load().in_flight == 0
        assert list(here.load().stats.codes) == ([499] if when == "before" else [200])


async def test_a_client_that_leaves_in_the_middle_of_its_body():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(extra=b"content-length: 100000\r\n") + b"x" * 1000)
            await until(lambda: replica.asked)
        await until(replica.visits[0].gone.is_set)
        await until(lambda: not here.router._connections.open)
        assert here.load().pending == 0


async def test_nothing_is_left_behind_after_many_odd_ends(tmp_path: Path):
    """Every kind of end in a row; then all counters are at zero and no connection is open."""

    async def behave(asked: Asked, visit: Visit) -> None:
        body = await visit.body()
        kind = asked.target[1:]
        if kind == "close":
            visit.close()
        elif kind == "half":
            await visit.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            visit.close()
        elif kind == "garbage":
            await visit.write(b"garbage\r\n\r\n")
        else:
            await visit.answer(body)

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))

        async def one(number: int) -> None:
            kind = ["fine", "close", "half", "garbage", "leave"][number % 5]
            async with here.raw() as client:
                await client.send(request(f"/default/mini/{kind}", body=b"x"))
                if kind != "leave":
                    await client.head()

        await asyncio.gather(*(one(number) for number in range(200)))
        await until(lambda: not here.router._connections.open)
        assert here.load().pending == here.load().in_flight == here.load().waiting == 0
        assert all(peer.outstanding == 0 for peer in here.router.context.balance.all())
        assert sum(here.load().stats.codes.values()) >= 160


async def test_a_replica_that_never_answers_is_504_in_the_end_and_its_connection_is_not_used_again():
    async def behave(asked: Asked, visit: Visit) -> None:
        body = await visit.body()
        if body == b"hang":
            has_it.set()
            await visit.until_gone()
            gone.set()
        else:
            await visit.answer(body)

    has_it, gone = asyncio.Event(), asyncio.Event()
    async with world(answer_timeout=60.0) as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            await client.send(request(body=b"hang"))
            await has_it.wait()
            (connection,) = here.router._connections.open
            connection.check_deadline(asyncio.get_running_loop().time() + 61)
            answer = await client.answer()
            assert (answer.status, answer.json()["state"]) == (504, "running")
            assert answer.json()["error"] == "the replica did not begin to answer within 60 s"
            await client.send(request(body=b"well"))
            assert (await client.answer()).body == b"well"
            await asyncio.wait_for(gone.wait(), WITHIN)
        assert len(replica.visits) == 2
        assert here.load().pending == here.load().in_flight == 0


async def test_the_wait_for_an_answer_begins_when_the_replica_has_the_whole_request():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.body()
        has_it.set()
        await visit.until_gone()

    has_it = asyncio.Event()
    async with world(answer_timeout=60.0, body_timeout=3600.0) as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        async with here.raw() as client:
            whole = request(body=b"whole")
            await client.send(whole[:-1])
            await until(lambda: replica.asked)
            (connection,) = here.router._connections.open
            later = asyncio.get_running_loop().time() + 120
            connection.check_deadline(later)
            assert here.load().pending == 1, "it is the client that takes its time"
            connection._exchange._sent_at -= 100
            await client.send(whole[-1:])
            await has_it.wait()
            connection.check_deadline(asyncio.get_running_loop().time() + 1)
            assert here.load().pending == 1, "it has had the whole request for a moment"
            connection.check_deadline(later)
            assert (await client.answer()).status == 504


async def test_a_replica_that_does_not_read_a_request_is_504_in_the_end():
    async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()
        connections.append(writer)

    connections: list[asyncio.StreamWriter] = []
    async with world(answer_timeout=0.3) as here:
        server = await asyncio.start_unix_server(never_reads, here.folder / "hung")
        await here.publish(route(Upstream("hung", f"unix:{here.folder}/hung")))
        async with here.raw() as client:
            sending = asyncio.create_task(client.send(request(body=BIG * 100)))
            answer = await client.answer()
            assert answer.status == 504
            assert answer.json()["error"] == "the replica did not take in the request within 0.3 s"
            sending.cancel()
        assert here.load().pending == here.load().in_flight == 0
        server.close()
        for connection in connections:
            connection.close()


async def test_heads_that_come_before_an_answer_are_bounded():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.body()
        for _ in range(101):
            await visit.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await visit.answer(b"late")

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        answer = await here.ask(request(body=b"x"))
        assert answer.status == 502
        assert "more than 100 heads" in answer.json()["error"]
