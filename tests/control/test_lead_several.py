"""Two controls on one store, as they really run, each with a fake platform of its own. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inlet.backends.fake import FakeBackend, Fault
from inlet.control.launch import Launcher
from inlet.control.link import RoutePublisher
from inlet.control.load import LoadBoard
from inlet.control.reconciler import Reconciler
from inlet.control.several import Several
from inlet.control.tokens import mint
from inlet.control.vault import Vault, generate_key
from inlet.core import intents
from inlet.core.access import Grant, Permission
from inlet.core.endpoint import Endpoint, Person, Source, State
from inlet.core.errors import BackendUnavailable, Misdirected, Unavailable
from inlet.core.facts import Policy
from inlet.core.routes import RouteTable, Signal, Signals
from inlet.core.spec import Model
from inlet.settings import Settings
from inlet.store.base import Event, Store
from inlet.store.memory import MemoryStore
from inlet.store.sql import SqlStore, database_url
from tests.core.simulator import make_spec

from . import virtual

PERSON = Person("0" * 24, "somebody")
T0 = 1_795_000_000.0
VAULT = Vault([generate_key()])


READS = ("get", "list", "all", "find")


class Line:
    """The store as one control reaches it; `cut` makes every call fail, `full` every call that writes, `lost` those named.

    `slow`: seconds that a call of that name takes longer.
    """

    def __init__(self, store: Store) -> None:
        self._store, self.cut, self.full = store, False, False
        self.lost, self.slow = set[str](), dict[str, float]()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        async def through(*args: Any, **options: Any) -> Any:
            if self.cut or name in self.lost or (self.full and not name.startswith(READS)):
                raise Unavailable("the database cannot be reached")
            await asyncio.sleep(self.slow.get(name, 0.0))
            loop = asyncio.get_running_loop()
            assert isinstance(loop, virtual.VirtualLoop)
            with loop.real_time():
                return await call(*args, **options)

        return through


class Control:
    """Everything that one control is made of, but for HTTP. Its time of day is `ahead` of the other's."""

    def __init__(self, store: Store, home: Path, *, ahead: float = 0.0) -> None:
        home.mkdir(exist_ok=True)
        self.home, self._ahead = home, ahead
        self.line: Any = Line(store)
        self.backend = FakeBackend()
        self.backend._names = 1000 * ord(
            home.name[0]
        )  # as on real platforms, no two replicas have the same name
        self.publisher = RoutePublisher()
        self.applied_late: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    def clock(self) -> float:
        return T0 + self._ahead + asyncio.get_running_loop().time()

    def steady(self) -> float:
        return asyncio.get_running_loop().time() + 7 * self._ahead

    async def start(self) -> None:
        """Also after an end: the home and what runs on the platform are as they were left."""
        self.board, self.publisher = LoadBoard(self.steady), RoutePublisher()
        self.several = Several(
            self.line,
            settings=Settings(home=self.home, port=ord(self.home.name[0])),
            backend=self.backend,
            board=self.board,
            publisher=self.publisher,
            host_of=lambda _: None,
            preset_tokens=(),
            clock=self.clock,
            steady=self.steady,
        )
        self.loop = Reconciler(
            store=self.line,
            backend=self.backend,
            launcher=Launcher(vault=Vault([generate_key()]), server_token=None, first_namespace="default"),
            board=self.board,
            publisher=self.publisher,
            policy=Policy(startup_timeout=600.0, max_failed_starts=3, grace=5.0),
            lookup=self._look_up,
            host_of=lambda _: None,
            preset_tokens=(),
            clock=self.clock,
            steady=self.steady,
            leads=self.several.leads,
            show=self.several.show,
        )
        await self.backend.start(self.loop.wake)
        self._tasks = [asyncio.create_task(self.several.run(self.loop)), asyncio.create_task(self._tick())]

    async def kill(self) -> None:
        """Everything of control at once; the platform goes on."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []

    async def end(self) -> None:
        """In order, as after Ctrl-C."""
        await self.kill()
        await self.several.leave()
        await self.backend.stop(keep_replicas=False)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.backend.tick()

    async def _look_up(self, model: Model, *, token: str | None) -> Source:
        return Source(model.repository, local=False, commit="c" * 40, task="text-classification")

    # What its API and its routers would do

    def wake(self) -> None:
        self.loop.wake()
        self.several.wake()

    async def add(self, name: str = "e", low: int = 1) -> Endpoint:
        spec = make_spec("good-1", low, max(1, low), timeout=1)
        endpoint = intents.create(
            spec, id=name, namespace="default", name=name, person=PERSON, now=self.clock()
        )
        event = Event(T0, name, "default", name, "endpointCreated", "x", None, "")
        await self.line.add_endpoint(endpoint, event)
        self.wake()
        return endpoint

    async def change(self, intent: Callable[[Endpoint], Endpoint], name: str = "e") -> None:
        found = await self.line.get_endpoint_by_id(name)
        assert found is not None
        assert await self.line.commit(intent(found)) is not None
        self.wake()

    def report(self, waiting: int = 0, in_flight: int = 0, name: str = "e") -> None:
        signal = Signal(name, in_flight, waiting, 1, self.clock())
        if self.board.record(Signals(f"router-{self.home.name}", (signal,)), self.clock()):
            self.wake()

    async def table(self) -> RouteTable | None:
        return await self.publisher.newer_than(None, wait=0.01)

    async def upstreams(self, name: str = "e") -> list[str] | None:
        """Replicas in the newest table; None while there is no table, or no such endpoint in it."""
        table = await self.table()
        routes = [] if table is None else [r for r in table.routes if r.name == name]
        return [u.replica_id for u in routes[0].upstreams] if routes else None

    async def own(self) -> list[str]:
        return [r.id for s in await self.backend.observe() for r in s.replicas]


@asynccontextmanager
async def shared_store(kind: str, folder: Path) -> AsyncIterator[Store]:
    store: Store
    if kind == "memory":
        store = MemoryStore()
    else:
        store = SqlStore(database_url(Settings(home=folder, database_url=f"sqlite:///{folder}/shared.db")))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def until(what: str, condition: Callable[[], Any], *, within: float = 30.0) -> float:
    """Let virtual time pass until `condition` holds; how many seconds that took."""
    started = asyncio.get_running_loop().time()
    while not await condition():
        passed = asyncio.get_running_loop().time() - started
        assert passed < within, f"not within {within} s: {what}"
        await asyncio.sleep(0.1)
    return asyncio.get_running_loop().time() - started


@pytest.fixture(params=["memory", "sqlite"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Runs a story with two controls, a and b; a leads."""

    def play(story: Callable[[Control, Control], Any], *, ahead: float = 0.0) -> None:
        async def main() -> None:
            async with AsyncExitStack() as stack:
                store = await stack.enter_async_context(shared_store(request.param, tmp_path))
                a, b = Control(store, tmp_path / "a"), Control(store, tmp_path / "b", ahead=ahead)
                await a.start()
                stack.push_async_callback(a.kill)
                await until("a leads", lambda: _now(a.several.leads()))
                await b.start()
                stack.push_async_callback(b.kill)
                await story(a, b)

        virtual.run(main())

    return play


async def _now(value: Any) -> Any:
    return value


async def _running(control: Control, name: str = "e") -> bool:
    return bool(await control.upstreams(name))


async def _in_state(control: Control, state: State, name: str = "e") -> bool:
    found = await control.line.get_endpoint_by_id(name)
    return found is not None and found.state is state


def test_an_intent_at_either_is_carried_out_and_routed_by_both(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await asyncio.sleep(5)  # by now they know of each other
        assert (a.several.leads(), b.several.leads()) == (True, False)
        await b.add()
        took = await until("the leader acts", a.own)
        assert took < 2.5
        await until("both route", lambda: _both(a, b))
        assert await a.upstreams() == await b.upstreams() == await a.own()
        assert await b.own() == []
        assert [s.id for s in await b.several.observe()] == ["e-r1"]
        await a.change(lambda e: intents.pause(e, person=PERSON, now=a.clock()))
        await until("routes are taken back", lambda: _upstreams_are(b, []), within=2.0)
        await until("stopped", lambda: _no(a.own))
        with pytest.raises(Misdirected, match=r"http://127\.0\.0\.1:97"):
            b.several.logs("e", replica_id=None, tail=None, follow=True)
        assert [line async for line in a.several.logs("e", replica_id=None, tail=None, follow=False)]

    scene(story)


async def _both(a: Control, b: Control) -> bool:
    return await _running(a) and await _running(b)


async def _upstreams_are(control: Control, wanted: list[str]) -> bool:
    return await control.upstreams() == wanted


async def _no(listing: Callable[[], Any]) -> bool:
    return not await listing()


def test_a_token_made_or_revoked_at_either_reaches_every_router(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await asyncio.sleep(5)

        async def known(control: Control, id_: str) -> bool:
            table = await control.table()
            return table is not None and any(t.id == id_ for t in table.tokens)

        for here, there in ((a, b), (b, a)):
            _, token = mint("t", (Grant(Permission.INFER),), here.clock())
            await here.line.add_token(token)
            here.wake()
            assert await until("known there", lambda t=token, c=there: known(c, t.id)) < 1.6
            await here.line.revoke_token(token.id, here.clock())
            here.wake()

            async def forgotten(control: Control = there, id_: str = token.id) -> bool:
                return not await known(control, id_)

            assert await until("forgotten there", forgotten) < 1.6

    scene(story)


def test_a_request_that_waits_anywhere_wakes_a_sleeping_endpoint(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await b.add(low=0)
        await until("running", lambda: _in_state(a, State.RUNNING))
        await b.change(lambda e: intents.scale_to_zero(e, person=PERSON, now=b.clock()))
        await until("asleep", lambda: _no(a.own))
        await asyncio.sleep(10)
        b.report(waiting=1)  # it would not wait: the next report is of nobody
        await asyncio.sleep(0.2)
        b.report(waiting=0)
        assert await until("woken", a.own) < 2.5
        await until("routed there", lambda: _running(b))

    scene(story)


@pytest.mark.parametrize("scene", ["memory"], indirect=True)
@pytest.mark.parametrize("ahead", [-900.0, 900.0])
def test_an_endpoint_in_use_elsewhere_does_not_fall_asleep_whatever_the_clocks_say(
    scene: Callable[..., None], ahead: float
) -> None:
    async def story(a: Control, b: Control) -> None:
        endpoint = await a.add(low=0)
        await until("running", lambda: _in_state(a, State.RUNNING))
        timeout = endpoint.spec.scaling.idle_timeout
        assert timeout is not None
        for _ in range(int(1.3 * timeout)):
            b.report()
            await asyncio.sleep(1.0)
            assert await _in_state(a, State.RUNNING)
        slept = await until("asleep", lambda: _in_state(a, State.SCALED_TO_ZERO), within=2 * timeout)
        assert abs(slept - timeout) < 10.0

    scene(story, ahead=ahead)


def test_when_the_leader_dies_the_other_takes_over_and_clears_up_later(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        left = await a.own()
        await a.kill()
        assert await until("b leads", lambda: _now(b.several.leads())) < 13.0
        await until("b runs its own", lambda: _running_own(b))
        assert await a.own() == left, "nobody told its platform anything"
        await a.start()
        await until("what a left is gone", lambda: _no(a.own))
        assert (a.several.leads(), b.several.leads()) == (False, True)
        assert await a.upstreams() == await b.upstreams() == await b.own()
        # And back: what a saw when it led before is not taken for what it sees now.
        await b.kill()
        await until("a leads", lambda: _now(a.several.leads()))
        await until("a runs its own", lambda: _running_own(a))
        assert set(await a.own()).isdisjoint(left)
        await b.start()
        await until("b routes to them", lambda: _same(a, b))
        await until("what b left is gone", lambda: _no(b.own))

    scene(story)


async def _running_own(control: Control) -> bool:
    upstreams = await control.upstreams()
    return bool(upstreams) and upstreams == await control.own()


async def _same(a: Control, b: Control) -> bool:
    return bool(await a.upstreams()) and await a.upstreams() == await b.upstreams()


def test_a_control_that_is_restarted_keeps_its_lead(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        before = await a.own()
        for _ in range(3):
            await a.kill()
            await asyncio.sleep(4.0)
            assert await b.upstreams() == before, "traffic goes on meanwhile"
            await a.start()
            assert await until("a leads", lambda: _now(a.several.leads())) < 1.0
            assert not b.several.leads()
            await asyncio.sleep(3.0)
        assert await a.own() == before == await b.upstreams()

    scene(story)


def test_a_control_that_is_restarted_does_not_clear_up_what_is_its_own(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        await a.kill()
        (before,) = await a.own()
        a.backend.crash(before)
        for _ in range(10):
            a.backend.tick()
        replaced = await a.own()
        assert replaced
        assert replaced != [before], "what it showed last knows none of these"
        a.line.slow = {"put_lease": 1.0}
        await a.start()
        await until("a leads", lambda: _now(a.several.leads()))
        await until("both route to what was found", lambda: _same(a, b))
        assert await a.own() == replaced == await b.upstreams()

    scene(story)


def test_a_control_that_comes_late_finds_everything(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await b.end()
        await a.add()
        await until("running", lambda: _running(a))
        await asyncio.sleep(60.0)
        await b.start()
        assert await until("b routes", lambda: _same(a, b)) < 3.0
        assert b.several.standing().followers == ("http://127.0.0.1:98",)
        await until("a knows of it", lambda: _now(a.several.standing().followers))

    scene(story)


def test_an_end_in_order_hands_the_lead_over_at_once(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        await a.end()
        assert await until("b leads", lambda: _now(b.several.leads())) < 2.0
        await until("b runs its own", lambda: _running_own(b))
        await asyncio.sleep(3.0)
        assert b.several.standing().followers == ()
        assert [n.control for n in await b.line.list_notices("sight")] == [b.several._me]

    scene(story)


def test_a_leader_that_is_cut_off_stops_acting_before_another_begins(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        before = await a.own()
        a.line.cut = True
        cut_at = asyncio.get_running_loop().time()
        await until("a leads no more", lambda: _now(not a.several.leads()), within=7.5)
        assert not b.several.leads()
        await until("b leads", lambda: _now(b.several.leads()))
        assert asyncio.get_running_loop().time() - cut_at > 8.0
        await until("b runs its own", lambda: _running_own(b))
        await b.change(lambda e: intents.update(e, make_spec("good-2", 1, 1), person=PERSON, now=b.clock()))
        await until("b runs the new one", lambda: _is_revision(b, 2))
        assert await a.own() == before == await a.upstreams(), "its routers go on with what they have"
        a.line.cut = False
        await until("what a left is gone", lambda: _no(a.own))
        assert not a.several.leads()
        assert await _is_revision(a, 2)

    scene(story)


async def _is_revision(control: Control, number: int) -> bool:
    upstreams = await control.upstreams()
    return bool(upstreams) and all(u.startswith(f"e-r{number}-") for u in upstreams)


def test_a_database_away_from_all_changes_nothing(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        before = await a.own()
        a.line.cut = b.line.cut = True
        await asyncio.sleep(60.0)
        assert (a.several.leads(), b.several.leads()) == (False, False)
        assert await a.upstreams() == await b.upstreams() == before
        b.line.cut = False
        await asyncio.sleep(3.0)
        a.line.cut = False
        await until("a leads again", lambda: _now(a.several.leads()))
        await asyncio.sleep(20.0)
        assert not b.several.leads()
        assert await a.own() == before == await b.upstreams()

    scene(story)


def test_a_lead_that_comes_back_late_is_used_at_once(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await b.end()
        await a.add()
        await until("running", lambda: _running(a))
        a.line.cut = True
        await asyncio.sleep(90.0)  # by now the loop tries again only now and then
        endpoint = await a.line._store.get_endpoint_by_id("e")
        await a.line._store.commit(intents.pause(endpoint, person=PERSON, now=a.clock()))
        a.line.cut, a.line.lost = False, {"get_lease"}
        await asyncio.sleep(2.5)  # the loop was woken, and found that it may not act yet
        a.line.lost = set()
        assert await until("paused", lambda: _no(a.own)) < 10.0

    scene(story)


def test_a_full_disk_changes_nothing_either(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        before = await a.own()
        a.line.full = b.line.full = True
        await asyncio.sleep(45.0)
        assert (a.several.leads(), b.several.leads()) == (False, False)
        a.line.full = b.line.full = False
        await until("a leads again", lambda: _now(a.several.leads()))
        await asyncio.sleep(20.0)
        assert not b.several.leads()
        assert await a.own() == before == await b.upstreams()

    scene(story)


def test_a_replica_that_is_replaced_while_the_database_is_away_is_found(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        (before,) = await a.own()
        a.line.cut = b.line.cut = True
        await until("a leads no more", lambda: _now(not a.several.leads()))
        a.backend.crash(before)

        async def replaced() -> bool:
            return await _running_own(a) and await a.own() != [before]

        await until("its routers find the one in its place", replaced)
        a.line.cut = b.line.cut = False
        await until("the other's too", lambda: _same(a, b))
        assert await _running_own(a)

    scene(story)


def test_a_platform_that_cannot_be_seen_is_not_an_empty_one(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        before = await a.own()
        a.backend.faults = {Fault.BLIND}
        await asyncio.sleep(30.0)
        assert await b.upstreams() == await a.upstreams() == before
        a.backend.faults = set()
        # The same where a control would clear up what it left.
        await a.kill()
        await until("b runs its own", lambda: _running_own(b))
        a.backend.faults = {Fault.BLIND}
        await a.start()
        await asyncio.sleep(10.0)
        a.backend.faults = set()
        assert await a.own() == before
        await until("what a left is gone", lambda: _no(a.own))

    scene(story)


def test_replicas_out_of_reach_are_not_routed_to(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        (a.home / "control.id").rename(
            a.home / "elsewhere"
        )  # as on another machine: it cannot be read from here
        await until("b stands by", lambda: _now(b.several.standing().obstacle))
        assert "http://127.0.0.1:97 leads" in str(b.several.standing().obstacle)
        assert await b.upstreams() == []
        await a.kill()
        await until("b runs its own", lambda: _running_own(b))
        assert b.several.standing().obstacle is None

    scene(story)


def test_a_leader_of_another_version_is_named(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await a.add()
        await until("both route", lambda: _both(a, b))
        before = await b.upstreams()
        await a.line.put_notice(a.several._me, "sight", '{"from": "the future"}')
        await asyncio.sleep(2.0)
        assert "another version of Inlet leads, at http://127.0.0.1:97" in str(b.several.standing().obstacle)
        assert await b.upstreams() == before, "its routers keep what they have"

    scene(story)


def test_what_people_are_told(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await asyncio.sleep(6.0)
        for control, leads in ((a, True), (b, False)):
            standing = control.several.standing()
            assert (standing.shared, standing.leads) == (True, leads)
            assert standing.leader == "http://127.0.0.1:97"
            assert standing.followers == ("http://127.0.0.1:98",)
        await a.kill()
        await asyncio.sleep(8.0)
        await until("b leads", lambda: _now(b.several.leads()))
        assert b.several.standing().leader == "http://127.0.0.1:98"
        await until("nobody follows", lambda: _now(not b.several.standing().followers))

    scene(story)


def test_nothing_is_known_before_the_leader_was_heard(scene: Callable[..., None]) -> None:
    async def story(a: Control, b: Control) -> None:
        await b.kill()
        a.line.cut = True  # nothing can be read from here on
        await b.start()
        b.line.cut = True
        await asyncio.sleep(20.0)
        with pytest.raises(BackendUnavailable, match="not known yet"):
            await b.several.observe()
        with pytest.raises(BackendUnavailable, match="no control leads"):
            b.several.logs("e", replica_id=None, tail=None, follow=False)
        assert await b.table() is None
        assert b.several.standing().obstacle is None

    scene(story)
