"""The control loop while its database or its clock fails it: no step too many, no route lost, and on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from inlet.core import intents
from inlet.core.endpoint import State
from inlet.core.errors import Unavailable
from inlet.core.routes import Route, Signal, Signals
from inlet.store.sql import SqlStore
from tests.control.test_reconciler import PERSON, Site
from tests.database_file import away, locked

DAY = 86_400.0


class Watched(Site):
    """A site on a database in a file, whose clock may be set: by `set_by` seconds so far."""

    def __init__(self, home: Path) -> None:
        self.set_by = self.then_set = 0.0
        super().__init__(home)
        self.file = home / "inlet.db"
        self.store = SqlStore(URL.create("sqlite", database=str(self.file)), busy_timeout=1.0)
        self.loop = self.make_loop()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with super().running():
            yield
        await self.store.close()

    def clock(self) -> float:
        """Set by `then_set` right after it was read."""
        now = super().clock() + self.set_by
        self.set_by, self.then_set = self.set_by + self.then_set, 0.0
        return now

    def route(self) -> Route | None:
        table = self.publisher._table
        return table.routes[0] if table is not None and table.routes else None

    def upstreams(self) -> set[str]:
        route = self.route()
        return set() if route is None else {upstream.replica_id for upstream in route.upstreams}

    async def set_clock(self, seconds: float) -> None:
        """And let the loop find it so."""
        self.set_by += seconds
        self.loop.wake()
        memory = self.loop._memory["e"]
        await eventually("a pass", lambda: self.loop._looked_at == (self.clock(), self.steady()))
        await eventually("a step", lambda: memory.jumped == 0.0)
        for _ in range(2000):
            found = await self.store.get_endpoint_by_id("e")
            assert found is not None
            if found.since <= self.clock():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the record's times still lie in the future")

    def traffic(self, *, waiting: int = 0) -> None:
        """As a router reports it once a second."""
        signal = Signal("e", in_flight=0, waiting=waiting, requests=1, last_request_at=self.clock())
        self.board.record(Signals("r", (signal,)), self.clock())
        self.loop.wake()


async def eventually(what: str, condition: Callable[[], object]) -> None:
    """As the loop goes on by itself: the database answers from threads."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never: {what}")


async def state(site: Watched, wanted: State) -> None:
    for _ in range(2000):
        found = await site.store.get_endpoint_by_id("e")
        if found is not None and found.state is wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never {wanted}: {found}")


@pytest.fixture
def site(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def run_one(site: Watched, *, low: int = 1) -> None:
    await site.add(low=low)
    await eventually("a replica set", lambda: site.backend._sets)
    site.backend.tick()
    await state(site, State.RUNNING)
    await eventually("its route", site.upstreams)


@pytest.mark.parametrize("fault", [locked, away])
async def test_a_replica_that_is_replaced_while_the_database_is_away_is_routed_to(
    site: Watched, fault: Callable[..., contextmanager[None]]
) -> None:
    async with site.running():
        await run_one(site)
        (before,) = site.upstreams()
        with fault(site.file):
            with pytest.raises(Unavailable):
                await site.change(lambda e: intents.pause(e, person=PERSON, now=site.clock()))
            site.backend.crash(before)
            site.backend.tick()
            site.backend.tick()
            await eventually("the new replica's route", lambda: site.upstreams() - {before})
            assert before not in site.upstreams()
            route = site.route()
            assert route is not None
            assert route.state is State.RUNNING, "no step was taken"
        await site.change(lambda e: intents.pause(e, person=PERSON, now=site.clock()))
        await state(site, State.PAUSED)
        await eventually("the pause", lambda: not site.upstreams())


@pytest.mark.parametrize("jump", [-DAY, -3600.0, 3600.0, DAY])
async def test_a_clock_that_is_set_puts_nothing_to_sleep_and_keeps_nothing_awake(
    site: Watched, jump: float
) -> None:
    async with site.running():
        await run_one(site, low=0)
        endpoint = await site.store.get_endpoint_by_id("e")
        assert endpoint is not None
        timeout = endpoint.spec.scaling.idle_timeout
        assert timeout is not None
        site.later += timeout - 2
        await site.set_clock(jump)
        await state(site, State.RUNNING)
        assert site.upstreams()
        # Set back, the wait may begin again; it is over at the latest after another whole one.
        site.later += timeout + 2
        site.loop.wake()
        await state(site, State.SCALED_TO_ZERO)
        await site.set_clock(-jump)
        site.later += 1
        site.traffic(waiting=1)
        await eventually("the replica set of the woken", lambda: site.backend._sets)


async def test_a_clock_that_is_set_amid_a_pass_is_for_the_next(site: Watched) -> None:
    async with site.running():
        await run_one(site, low=0)
        site.then_set = DAY  # the pass that this wakes reads the clock first
        site.loop.wake()
        await eventually("a pass", lambda: not site.then_set)
        site.loop.wake()
        await eventually("the next pass", lambda: site.loop._looked_at == (site.clock(), site.steady()))
        await state(site, State.RUNNING)
        assert site.upstreams()


async def test_no_pause_between_calls_outlasts_a_clock_that_is_set_back(site: Watched) -> None:
    site.lookup_errors = [Unavailable("the Hub is away")]
    async with site.running():
        await site.add()
        await eventually("a first try", lambda: len(site.lookups) == 1)
        await eventually("a pause", lambda: site.loop._memory["e"].note)
        site.set_by -= DAY
        site.later += 1
        site.loop.wake()
        await eventually("a second try", lambda: len(site.lookups) == 2)
