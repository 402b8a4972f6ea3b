"""The lead among several controls: never two at a time, whatever is slow, lost, stopped or dead; and soon one again."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inlet.control import election
from inlet.control import lead as lead_module
from inlet.control.election import LEADS_FOR_S, NOBODY, TAKES_AFTER_S, Candidate
from inlet.control.lead import Lead
from inlet.control.peers import Watch
from inlet.core.errors import Unavailable
from inlet.store.base import Lease, Notice
from inlet.store.memory import MemoryStore


class _Wait:
    """Awaited by the store below: the simulation goes on with somebody else for so long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[float, None, None]:
        yield self.seconds


@dataclass
class World:
    """Real time, one lease, and how bad things are. `calm` from some moment on."""

    chance: random.Random
    now: float = 0.0
    lease: Lease | None = None
    calm: bool = False

    def delay(self) -> float:
        kind = 0.0 if self.calm else self.chance.random()
        if kind < 0.8:
            return self.chance.uniform(0.0, 0.05)
        if kind < 0.97:
            return self.chance.uniform(0.0, 4.0)
        return self.chance.uniform(0.0, 60.0)  # stopped, or suspended

    def fails(self) -> bool:
        return not self.calm and self.chance.random() < 0.1


class SlowStore:
    """The lease as one control reaches it: each call is late on its way there, on its way back, or lost on either."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def get_lease(self) -> Lease | None:
        await self._travel()
        found = self._world.lease
        await self._travel()
        return found

    async def put_lease(self, holder: str, url: str, *, seen: Lease | None) -> Lease | None:
        await self._travel()
        put = None
        if self._world.lease == seen:
            put = self._world.lease = Lease(holder, url, 1 if seen is None else seen.beat + 1)
        await self._travel()
        return put

    async def _travel(self) -> None:
        await _Wait(self._world.delay())
        if self._world.fails():
            raise Unavailable("lost on the way")


class Node:
    """One control: its own clock (offset and rate), and `Lead.beat` over and over, stepped by hand."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        offset, rate = world.chance.uniform(-1e6, 1e6), world.chance.uniform(0.95, 1.05)
        self.alive = True
        self.clock: Callable[[], float] = lambda: offset + rate * world.now
        self.lead = self._fresh(name)
        self._name, self._beat = name, None

    def _fresh(self, name: str) -> Lead:
        async def nothing() -> None:
            await _Wait(self._world.delay())

        store: Any = SlowStore(self._world)
        return Lead(store, me=name, url=f"http://{name}", before_taking=nothing, clock=self.clock)

    def restart(self) -> None:
        self.lead, self._beat = self._fresh(self._name), None

    def step(self) -> float:
        """Go on to the next wait; seconds until the next step."""
        if self._beat is None:
            self._beat: Any = self.lead.beat().__await__()
        try:
            return float(next(self._beat))
        except (StopIteration, Unavailable):
            self._beat = None
            self.lead._say()
            return self._world.chance.uniform(0.5, 2.0)


def simulate(seed: int, *, chaos_s: float = 200.0) -> World:
    """Chaos for a while in which all but one may die, then calm; fails if ever two lead, or nobody does in the end."""
    world = World(random.Random(seed))
    nodes = [Node(world, name) for name in "abc"[: world.chance.choice((2, 3))]]
    queue = [(world.chance.uniform(0, 2), index) for index in range(len(nodes))]
    heapq.heapify(queue)
    end = chaos_s + 2 * 60.0 + TAKES_AFTER_S + 10.0  # what was on its way in the chaos still has to arrive
    while world.now < end:
        world.now, index = heapq.heappop(queue)
        world.calm = world.now > chaos_s
        node = nodes[index]
        if not world.calm and node.alive and world.chance.random() < 0.01:
            node.restart()
        if not world.calm and sum(n.alive for n in nodes) > 1 and world.chance.random() < 0.003:
            node.alive = False
        leading = [n for n in nodes if n.lead.leads and n.alive]
        assert len(leading) <= 1, f"two lead at {world.now}"
        if node.alive:
            heapq.heappush(queue, (world.now + node.step(), index))
            leading = [n for n in nodes if n.lead.leads and n.alive]
            assert len(leading) <= 1, f"two lead at {world.now}"
    assert len(leading) == 1, "nobody leads"
    return world


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_never_two_lead_and_in_the_end_one_does(seed: int) -> None:
    world = simulate(seed)
    assert world.lease is not None
    assert world.lease.holder != NOBODY


def test_the_simulation_finds_rules_that_are_too_hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "TAKES_AFTER_S", LEADS_FOR_S - 4.0)

    def try_many() -> None:
        for seed in range(500):
            simulate(seed)

    with pytest.raises(AssertionError, match="two lead"):
        try_many()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def _lead(store: MemoryStore, me: str, clock: Clock, cleared: list[str] | None = None) -> Lead:
    async def clear() -> None:
        (cleared if cleared is not None else []).append(me)

    return Lead(store, me=me, url=f"http://{me}", before_taking=clear, clock=clock)


@pytest.fixture
async def store() -> MemoryStore:
    made = MemoryStore()
    await made.open()
    return made


async def test_one_leads_and_renews_the_other_waits_until_it_is_silent(store: MemoryStore) -> None:
    clock, cleared = Clock(), list[str]()
    a, b = await _lead(store, "a", clock, cleared), await _lead(store, "b", clock, cleared)
    await a.beat()
    await b.beat()
    assert (a.leads, b.leads) == (True, False)
    assert b.holder is not None
    assert b.holder.url == "http://a"
    for _ in range(20):
        clock.now += 2.0
        await a.beat()
        await b.beat()
        assert (a.leads, b.leads) == (True, False)
    for _ in range(int(TAKES_AFTER_S)):
        assert not b.leads
        clock.now += 1.0
        await b.beat()
    assert (a.leads, b.leads) == (False, True)
    assert cleared == ["a", "b"], "what it had shown before is taken down before the lead is taken"
    await a.beat()  # its renewal finds that somebody went on
    await a.beat()
    assert (a.leads, a.holder) == (False, b.holder)


async def test_the_lead_is_over_by_the_clock_and_goes_on_when_it_can_be_renewed(store: MemoryStore) -> None:
    clock = Clock()
    a = await _lead(store, "a", clock)
    await a.beat()
    clock.now += LEADS_FOR_S - 0.1
    assert a.leads
    clock.now += 0.1
    assert not a.leads
    await a.beat()
    assert a.leads


async def test_a_restarted_control_finds_its_own_lead_again_at_once(store: MemoryStore) -> None:
    clock, cleared = Clock(), list[str]()
    await (await _lead(store, "a", clock)).beat()
    again = await _lead(store, "a", clock, cleared)
    await again.beat()
    assert again.leads
    assert cleared == [], "what it had shown stays for the others"


async def test_a_lead_that_was_given_up_is_taken_at_once(store: MemoryStore) -> None:
    clock = Clock()
    a, b = await _lead(store, "a", clock), await _lead(store, "b", clock)
    await a.beat()
    await b.beat()
    await a.resign()
    assert (a.leads, a.holder) == (False, None)
    await b.beat()
    assert b.leads
    await a.resign()
    assert b.leads
    assert (await store.get_lease()) == b.holder


class Stopping(MemoryStore):
    """Does what it is asked to, and has no answer."""

    stops = False

    async def put_lease(self, holder: str, url: str, *, seen: Lease | None) -> Lease | None:
        put = await super().put_lease(holder, url, seen=seen)
        if self.stops:
            await asyncio.Event().wait()
        return put


@pytest.mark.parametrize("renewals", [0, 1])
async def test_a_lead_is_given_up_also_when_its_last_renewal_was_cut_short(renewals: int) -> None:
    clock, store = Clock(), Stopping()
    await store.open()
    a = await _lead(store, "a", clock)
    for _ in range(renewals):
        await a.beat()
    store.stops = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await a.beat()
    lease = await store.get_lease()
    assert lease is not None
    assert lease.holder == "a"
    store.stops = False
    await a.resign()
    lease = await store.get_lease()
    assert lease is not None
    assert lease.holder == NOBODY


async def test_after_a_database_that_was_away_the_one_that_led_leads_on(store: MemoryStore) -> None:
    clock = Clock()
    a, b = await _lead(store, "a", clock), await _lead(store, "b", clock)
    await a.beat()
    await b.beat()
    await store.close()
    for _ in range(60):
        clock.now += 1.0
        for each in (a, b):
            with pytest.raises(Unavailable):
                await each.beat()
    assert not a.leads
    await store.open()
    await b.beat()
    assert not b.leads, "it has not watched a silent holder, it has watched nothing"
    await a.beat()
    assert (a.leads, b.leads) == (True, False)


class Full(MemoryStore):
    """Can be read, and not be written while it has no room."""

    has_room = True

    async def put_lease(self, holder: str, url: str, *, seen: Lease | None) -> Lease | None:
        if not self.has_room:
            raise Unavailable("no room")
        return await super().put_lease(holder, url, seen=seen)


async def test_after_a_database_that_could_not_be_written_the_one_that_led_leads_on() -> None:
    clock, store = Clock(), Full()
    await store.open()
    a, b = await _lead(store, "a", clock), await _lead(store, "b", clock)
    await a.beat()
    await b.beat()
    store.has_room = False
    for _ in range(int(2 * TAKES_AFTER_S)):
        clock.now += 1.0
        for each in (a, b):
            with contextlib.suppress(Unavailable):
                await each.beat()
    store.has_room = True
    await b.beat()
    assert not b.leads, "it has failed to write as the holder has: that one's silence says nothing"
    await a.beat()
    assert (a.leads, b.leads) == (True, False)


class Hanging(MemoryStore):
    """Hangs once, and as a driver that answers the first cancellation with a word to the server."""

    asked = 0

    async def get_lease(self) -> Lease | None:
        self.asked += 1
        if self.asked == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.Event().wait()
        return await super().get_lease()


async def test_a_call_that_hangs_is_given_up_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lead_module, "CALL_WITHIN_S", 0.01)
    store = Hanging()
    await store.open()
    a = Lead(store, me="a", url="http://a", before_taking=store.open)
    running = asyncio.create_task(a.run())
    async with asyncio.timeout(60):
        await a.until(holds=True)
    running.cancel()
    await asyncio.wait([running])


def test_of_notices_that_lay_there_before_nobody_knows_how_old_they_are() -> None:
    watch = Watch(Clock())
    first, second = (Notice("b", "signals", "{}", beat) for beat in (1, 2))
    assert watch.read([first]) == []
    assert watch.read([first]) == []
    assert watch.read([second]) == [second]


@given(
    since=st.floats(-100, 0),
    looked=st.floats(-100, 0),
    beat=st.integers(1, 5),
    holder=st.sampled_from(["x", "me", ""]),
)
def test_a_lease_is_taken_from_a_holder_only_after_watching_it_without_a_gap(
    since: float, looked: float, beat: int, holder: str
) -> None:
    at = Candidate("me", Lease(holder, "", beat), since=min(since, looked), looked_at=looked)
    if holder != "x":
        assert at.may_put(0.0)
    elif at.may_put(0.0):
        assert at.since <= -TAKES_AFTER_S
        assert at.looked_at > -election.BLIND_AFTER_S
    seen = at.saw(Lease(holder, "", beat + 1), 0.0)
    assert seen.may_put(0.0) == (holder != "x"), "a beat that rose is not silence"
