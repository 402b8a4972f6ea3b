"""Holding and waking, demand and signals, states, the bound on pending requests, and life without control."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from inlet.core.endpoint import State
from inlet.core.spec import Visibility
from inlet.router.signals import Reporter
from tests.router.world import READER, Asked, Visit, request, route, until, world

NOT_READY = [
    State.SCALED_TO_ZERO,
    State.PENDING,
    State.INITIALIZING,
    State.UPDATING,
    State.UPDATE_FAILED,
    State.RUNNING,
]


@pytest.mark.parametrize("state", NOT_READY)
async def test_a_request_is_held_until_a_replica_is_ready_and_is_demand(
    state: State, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("inlet.router.signals.PERIOD_S", 60.0)  # what control hears, it was told at once
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(state=state))
        async with here.raw() as client:
            await client.send(request(body=b"patient"))
            await until(lambda: any(s.waiting == 1 for s in here.link.signals("id-mini")))
            await here.publish(route(replica.upstream()))
            assert (await client.answer("POST")).body == b"patient"
        assert here.load().pending == here.load().waiting == here.load().in_flight == 0


async def test_a_streaming_request_is_held_too():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(state=State.SCALED_TO_ZERO))
        async with here.raw() as client:
            await client.send(request(extra=b"transfer-encoding: chunked\r\n") + b"3\r\nabc\r\n")
            await until(lambda: here.load() and here.load().waiting == 1)
            await here.publish(route(replica.upstream()))
            await until(lambda: replica.asked)
            await client.send(b"0\r\n\r\n")
            assert (await client.answer("POST")).body == b"abc"


@pytest.mark.parametrize("text", [b"0", b"0.05"])
async def test_the_caller_says_how_long_it_waits(text: bytes):
    async with world() as here:
        await here.publish(route(state=State.INITIALIZING, reason="loading the model"))
        answer = await here.ask(request(body=b"x", extra=b"X-Scale-Up-Timeout: " + text + b"\r\n"))
        assert answer.status == 503
        assert answer.values("retry-after") == ["5"]
        body = answer.json()
        assert body == {"error": body["error"], "state": "initializing", "retry_after": 5.0}
        assert "default/mini is initializing" in body["error"]
        assert "loading the model" in body["error"]


async def test_the_setting_says_how_long_others_wait():
    async with world(hold_seconds=0.05) as here:
        await here.publish(route(state=State.SCALED_TO_ZERO))
        answer = await here.ask(request(body=b"x"))
        assert (answer.status, answer.json()["state"]) == (503, "scaledToZero")


@pytest.mark.parametrize("text", [b"soon", b"-1", b"nan", b""])
async def test_a_wait_that_is_no_number_is_refused(text: bytes):
    async with world() as here:
        await here.publish(route(state=State.SCALED_TO_ZERO))
        answer = await here.ask(request(body=b"x", extra=b"X-Scale-Up-Timeout: " + text + b"\r\n"))
        assert answer.status == 400
        assert "X-Scale-Up-Timeout" in answer.json()["error"]


@pytest.mark.parametrize(("state", "status"), [(State.PAUSED, 400), (State.FAILED, 503)])
async def test_paused_and_failed_are_refused_at_once_even_while_waiting(state: State, status: int):
    async with world() as here:
        await here.publish(route(state=state, reason="out of memory"))
        answer = await here.ask(request(body=b"x"))
        assert answer.status == status
        assert answer.json()["state"] == state.value
        assert answer.json()["retry_after"] is None
        assert not answer.values("retry-after")
        await here.publish(route(state=State.INITIALIZING))
        async with here.raw() as client:
            await client.send(request(body=b"x"))
            await until(lambda: here.load() and here.load().waiting == 1)
            await here.publish(route(state=state))
            assert (await client.answer("POST")).status == status


async def test_an_endpoint_deleted_while_a_request_waits():
    async with world() as here:
        await here.publish(route(state=State.INITIALIZING))
        async with here.raw() as client:
            await client.send(request(body=b"x"))
            await until(lambda: here.load() and here.load().waiting == 1)
            await here.publish()
            assert (await client.answer("POST")).status == 404
        await here.publish()
        assert here.load() is None


@pytest.mark.parametrize("path", ["", "/", "/health", "/info", "/metrics", "/health?x=1"])
async def test_probes_neither_wake_nor_count(path: str):
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(state=State.SCALED_TO_ZERO))
        answer = await here.ask(request("/default/mini" + path, method="GET"), "GET")
        assert (answer.status, answer.json()["state"]) == (503, "scaledToZero")
        assert (await here.ask(request("/default/mini" + path, method="HEAD"), "HEAD")).status == 503
        assert here.load().requests == 0
        assert here.load().last_request_at is None
        await here.publish(route(replica.upstream()))
        assert (await here.ask(request("/default/mini" + path, method="GET"), "GET")).body == b"ok"
        assert (here.load().requests, here.load().last_request_at, here.load().pending) == (0, None, 0)


async def test_a_probe_of_what_is_starting_waits_for_the_table_that_is_on_its_way():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(state=State.INITIALIZING))
        async with here.raw() as client:
            await client.send(request("/default/mini/info", method="GET"))
            await until(lambda: here.load() and here.load().pending == 1)
            await here.publish(route(replica.upstream()))
            assert (await client.answer("GET")).body == b"ok"
        assert (here.load().requests, here.load().waiting, here.load().last_request_at) == (0, 0, None)
        await here.publish(route(state=State.INITIALIZING))
        answer = await here.ask(request("/default/mini/info", method="GET"), "GET")
        assert (answer.status, answer.json()["state"]) == (503, "initializing")
        assert here.load().unmet == 0


async def test_signals_tell_what_was_seen():
    release = asyncio.Event()

    async def behave(asked: Asked, visit: Visit) -> None:
        if asked.target == "/slow":
            await release.wait()
        await visit.answer(await visit.body())

    async with world() as here:
        replica = await here.replica(behave=behave)
        await here.publish(route(replica.upstream()))
        before = time.time()
        for _ in range(3):
            await here.ask(request(body=b"x"))
        async with here.raw() as client:
            await client.send(request("/default/mini/slow", body=b"x"))
            await until(lambda: any(s.in_flight == 1 for s in here.link.signals("id-mini")))
            release.set()
            await client.answer("POST")
        await until(lambda: here.link.signals("id-mini")[-1].in_flight == 0)
        signals = here.link.signals("id-mini")
        assert sum(s.requests for s in signals) == 4
        assert before <= signals[-1].last_request_at <= time.time()
        assert len({report.router_id for report in here.link.reports}) == 1


async def test_a_report_that_control_did_not_take_loses_nothing():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        here.link.refusing = True
        await here.ask(request(body=b"x"))
        with pytest.raises(OSError, match="503"):
            await Reporter(here.router._link)._report(here.router.context.gate)
        here.link.refusing = False
        await until(lambda: sum(s.requests for s in here.link.signals("id-mini")) == 1)


async def test_a_client_that_leaves_while_held_is_dropped():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(state=State.INITIALIZING))
        async with here.raw() as client:
            await client.send(request(body=b"x"))
            await until(lambda: here.load() and here.load().waiting == 1)
        await until(lambda: here.load().waiting == 0)
        assert here.load().pending == 0
        await here.publish(route(replica.upstream()))
        await here.ask(request(body=b"y"))
        assert len(replica.asked) == 1


async def test_a_held_body_is_kept_up_to_a_bound_and_then_not_read():
    size = 20_000_000
    async with world() as here:

        async def behave(asked: Asked, visit: Visit) -> None:
            await visit.answer(b"%d" % len(await visit.body()))

        replica = await here.replica(behave=behave)
        await here.publish(route(state=State.INITIALIZING))
        async with here.raw() as client:
            sending = asyncio.create_task(
                client.send(request(extra=b"content-length: %d\r\n" % size) + b"x" * size)
            )
            await until(
                lambda: here.router._connections.open and next(iter(here.router._connections.open))._paused
            )
            connection = next(iter(here.router._connections.open))
            assert connection._exchange._kept.size < 400_000  # 64 KiB and one read of the event loop
            await here.publish(route(replica.upstream()))
            assert (await client.answer("POST")).body == b"%d" % size
            await sending


async def test_more_than_the_bound_is_refused_with_429():
    async with world(max_pending=2) as here:
        replica = await here.replica()
        await here.publish(route(state=State.INITIALIZING), route(replica.upstream(), name="other"))
        async with here.raw() as one, here.raw() as two:
            for client in (one, two):
                await client.send(request(body=b"x"))
            await until(lambda: here.load() and here.load().waiting == 2)
            answer = await here.ask(request(body=b"x"))
            assert (answer.status, answer.values("retry-after")) == (429, ["1"])
            assert (answer.json()["state"], answer.json()["retry_after"]) == ("initializing", 1.0)
            assert (await here.ask(request("/default/other", body=b"x"))).status == 200
            await here.publish(route(replica.upstream()))
            for client in (one, two):
                assert (await client.answer("POST")).status == 200


# -- who may


@pytest.mark.parametrize(
    ("visibility", "secret", "status"),
    [
        (Visibility.PUBLIC, None, 200),
        (Visibility.PUBLIC, "nonsense", 200),
        (Visibility.PRIVATE, None, 401),
        (Visibility.PRIVATE, "nonsense", 401),
        (Visibility.PRIVATE, READER, 403),
        (Visibility.PRIVATE, "elsewhere", 403),
        (Visibility.PRIVATE, "expired", 401),
        (Visibility.PRIVATE, "revoked", 401),
        (Visibility.PRIVATE, "inlet_caller", 200),
        (Visibility.PROTECTED, "elsewhere", 403),
        (Visibility.PROTECTED, "inlet_caller", 200),
        (Visibility.AUTHENTICATED, None, 401),
        (Visibility.AUTHENTICATED, READER, 403),
        (Visibility.AUTHENTICATED, "elsewhere", 200),
    ],
)
async def test_who_may_use_an_endpoint(visibility: Visibility, secret: str | None, status: int):
    from inlet.core.access import Grant, Permission
    from tests.router.world import token

    infer = Grant(Permission.INFER, "default")
    async with world() as here:
        replica = await here.replica()
        tokens = (
            *here.tokens,
            token("elsewhere", Grant(Permission.INFER, "default", "another")),
            token("expired", infer, expires_at=1.0),
            token("revoked", infer, revoked_at=1.0),
        )
        await here.publish(route(replica.upstream(), visibility=visibility), tokens=tokens)
        for _ in range(2):
            answer = await here.ask(request(body=b"x", secret=secret))
            assert answer.status == status
        assert answer.values("www-authenticate") == (["Bearer"] if status == 401 else [])
        assert len(replica.asked) == (2 if status == 200 else 0)


async def test_a_token_that_expires_or_is_revoked_stops_working(monkeypatch: pytest.MonkeyPatch):
    from inlet.core.access import Grant, Permission
    from tests.router.world import token

    clock = SimpleNamespace(time=lambda: now)
    monkeypatch.setattr("inlet.router.auth.time", clock)
    monkeypatch.setattr("inlet.router.plan.time", clock)
    now = 1000.0
    infer = Grant(Permission.INFER, "default")
    async with world() as here:
        replica = await here.replica()
        at = route(replica.upstream())
        await here.publish(at, tokens=(token("short", infer, expires_at=1002.0),))
        for now, status in ((1000.0, 200), (1001.9, 200), (1002.0, 401)):  # noqa: B007 - the clock reads it
            assert (await here.ask(request(body=b"x", secret="short"))).status == status
        await here.publish(at, tokens=(token("long", infer),))
        assert (await here.ask(request(body=b"x", secret="long"))).status == 200
        await here.publish(at, tokens=(token("long", infer, revoked_at=1.0),))
        assert (await here.ask(request(body=b"x", secret="long"))).status == 401


@pytest.mark.parametrize(
    "value",
    [
        b"Basic inlet_caller",
        b"Bearer",
        b"Bearer ",
        b"inlet_caller",
        b"Bearer x y",
        b"Bearer \xff",
        b"Bearer " + b"x" * 9000,
    ],
)
async def test_odd_authorizations_are_no_token(value: bytes):
    async with world() as here:
        await here.publish(route())
        answer = await here.ask(request(body=b"x", secret=None, extra=b"Authorization: " + value + b"\r\n"))
        assert answer.status == 401


async def test_authorisation_comes_before_demand_and_before_the_state():
    async with world() as here:
        await here.publish(route(state=State.SCALED_TO_ZERO), route(name="paused", state=State.PAUSED))
        for name in ("mini", "paused"):
            answer = await here.ask(request(f"/default/{name}", body=b"x", secret=READER))
            assert answer.status == 403
            assert "paused" not in answer.json()["error"].replace("default/paused", "")
        assert here.load() is None
        assert here.link.signals("id-mini") == []


# -- without control


async def test_a_request_that_comes_before_the_first_table_is_held():
    async with world() as here:
        replica = await here.replica()
        async with here.raw() as client:
            await client.send(request(body=b"early"))
            await until(lambda: here.router.context.gate._without_table == 1)
            await here.publish(route(replica.upstream()))
            assert (await client.answer("POST")).body == b"early"
        assert here.router.context.gate._without_table == 0


async def test_without_any_table_waiting_ends():
    async with world(with_link=False, hold_seconds=0.05, max_pending=1) as here:
        answer = await here.ask(request(body=b"x"))
        assert (answer.status, answer.json()["state"]) == (503, None)
        assert answer.values("retry-after") == ["1"]


async def test_the_last_table_is_kept_while_control_is_away_and_replaced_when_it_is_back():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        await here.link.stop()
        for _ in range(5):
            assert (await here.ask(request(body=b"x"))).status == 200
        here.link._server._tasks.clear()
        async with here.link:
            await here.publish(route(replica.upstream(), name="new"))
            assert (await here.ask(request("/default/new", body=b"x"))).status == 200
            assert (await here.ask(request(body=b"x"))).status == 404


@pytest.mark.parametrize("target", ["/readyz", "/v2/endpoint/default"])
async def test_the_table_is_asked_for_again_as_soon_as_control_answers_anybody(
    target: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("inlet.router.table.FIRST_RETRY_S", 60.0)
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        answered = here.router.context.table.control_answered
        answered.set()
        await here.link.stop()
        await until(lambda: not answered.is_set())  # a poll has failed, and the next is a minute away
        here.link._server._tasks.clear()
        async with here.link:
            assert (await here.ask(request(target, method="GET"), "GET")).status == 200
            await here.publish(route(replica.upstream(), name="new"))


async def test_garbage_on_the_link_keeps_the_last_table():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        polls = here.link.polls
        here.link.publish_garbage(b'{"version": 3}')
        await until(lambda: here.link.polls >= polls + 2)
        assert (await here.ask(request(body=b"x"))).status == 200
        await here.publish(route(replica.upstream(), name="new"))
        assert (await here.ask(request("/default/new", body=b"x"))).status == 200


async def test_control_is_proxied_with_the_token_and_without_the_sandbox():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.answer(
            await visit.body() or b"control", extra=b"content-security-policy: default-src 'self'\r\n"
        )

    async with world() as here:
        here.control.behave = behave
        for target in ("/", "/v2/endpoint/default?limit=2", "/ui/app.js", "/api/whoami-v2", "/openapi.json"):
            answer = await here.ask(request(target, method="GET", extra=b"Cookie: a=b\r\n"), "GET")
            assert answer.body == b"control"
            assert answer.values("content-security-policy") == ["default-src 'self'"]
            asked = here.control.asked[-1]
            assert asked.target == target
            assert asked.values("authorization") == ["Bearer inlet_caller"]
            assert asked.values("x-forwarded-host") == ["base"]


async def test_control_away_is_503_and_traffic_goes_on():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        await here.control.stop()
        answer = await here.ask(request("/v2/endpoint", method="GET"), "GET")
        assert (answer.status, answer.values("retry-after")) == (503, ["1"])
        assert (await here.ask(request(body=b"x"))).status == 200


# -- the router's own pages


async def test_health_and_readiness():
    async with world() as here:
        assert (await here.ask(request("/healthz", method="GET", secret=None), "GET")).status == 200
        answer = await here.ask(request("/readyz", method="GET", secret=None), "GET")
        assert (answer.status, answer.json()["checks"]) == (503, {"route_table": False, "control": True})
        await here.publish()
        assert (await here.ask(request("/readyz", method="GET", secret=None), "GET")).status == 200
        assert (await here.ask(request("/readyz", method="HEAD", secret=None), "HEAD")).status == 200
        await here.control.stop()
        answer = await here.ask(request("/readyz", method="GET", secret=None), "GET")
        assert (answer.status, answer.json()["checks"]) == (503, {"route_table": True, "control": False})
        assert (await here.ask(request("/healthz", method="GET", secret=None), "GET")).status == 200


async def test_readiness_repeats_what_control_says_keeps_us_from_serving():
    async def stands_by(asked: Asked, visit: Visit) -> None:
        await visit.answer(b'{"status":"ok","obstacle":"the replicas run elsewhere"}')

    async with world() as here:
        await here.publish()
        usual, here.control.behave = here.control.behave, stands_by
        answer = await here.ask(request("/readyz", method="GET", secret=None), "GET")
        assert (answer.status, answer.json()["error"]) == (503, "the replicas run elsewhere")
        assert all(answer.json()["checks"].values())
        here.control.behave = usual
        assert (await here.ask(request("/readyz", method="GET", secret=None), "GET")).status == 200


async def test_metrics_are_for_those_who_may_read():
    async with world() as here:
        replica = await here.replica()
        await here.publish(
            route(replica.upstream()),
            route(replica.upstream(), name="hid", namespace="theirs", visibility=Visibility.PUBLIC),
        )
        for target in ("/default/mini", "/theirs/hid", "/nobody/knows"):
            await here.ask(request(target, body=b"x"))
        assert (await here.ask(request("/metrics", method="GET", secret=None), "GET")).status == 401
        assert (await here.ask(request("/metrics", method="GET"), "GET")).status == 403
        text = (await here.ask(request("/metrics", method="GET", secret=READER), "GET")).body.decode()
        assert 'inlet_router_requests_total{code="200",endpoint="mini",namespace="default"} 1.0' in text
        assert 'inlet_router_request_seconds_count{endpoint="mini",namespace="default"} 1.0' in text
        assert 'inlet_router_refused_total{code="404"} 1.0' in text
        assert "theirs" not in text
