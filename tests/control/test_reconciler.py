"""The control loop as it really runs, over the shipped fake platform and the in-memory store. No clock but the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from inlet.backends.base import ReplicaSet
from inlet.backends.fake import (
    CRASHING,
    MISCONFIGURED,
    NEVER_READY,
    SHORT_LIVED,
    FakeBackend,
    Fault,
)
from inlet.control.launch import Launcher
from inlet.control.link import RoutePublisher
from inlet.control.load import LoadBoard
from inlet.control.reconciler import Reconciler
from inlet.control.vault import Vault, generate_key
from inlet.core import intents
from inlet.core.endpoint import Endpoint, Person, Source, State
from inlet.core.errors import Refused, Unavailable, WrongState
from inlet.core.facts import Policy
from inlet.core.routes import Signal, Signals
from inlet.core.seen import SeenReplicaSet
from inlet.core.spec import Model
from inlet.store.base import Event
from inlet.store.memory import MemoryStore
from tests.core.simulator import make_spec

PERSON = Person("0" * 24, "somebody")
T0 = 1_000_000.0


class Site:
    """Everything that control is made of, but for HTTP and the clock."""

    def __init__(self, home: Path) -> None:
        self.store, self.backend = MemoryStore(), FakeBackend()
        self.board, self.publisher = LoadBoard(self.steady), RoutePublisher()
        self.vault = Vault([generate_key()])
        self.later = 0.0
        self.leads = True
        self.lookups: list[tuple[str, str | None]] = []
        self.lookup_errors: list[Exception] = []
        self.launcher = Launcher(vault=self.vault, server_token="hub-token", first_namespace="default")
        self.loop = self.make_loop()

    def make_loop(self) -> Reconciler:
        return Reconciler(
            store=self.store,
            backend=self.backend,
            launcher=self.launcher,
            board=self.board,
            publisher=self.publisher,
            policy=Policy(startup_timeout=600.0, max_failed_starts=3, grace=5.0),
            lookup=self.look_up,
            host_of=lambda _: None,
            preset_tokens=(),
            clock=self.clock,
            steady=self.steady,
            leads=lambda: self.leads,
        )

    def clock(self) -> float:
        return T0 + self.steady()

    def steady(self) -> float:
        return self.backend.now + self.later

    async def look_up(self, model: Model, *, token: str | None) -> Source:
        self.lookups.append((model.repository, token))
        if self.lookup_errors:
            raise self.lookup_errors.pop(0)
        return Source(model.repository, local=False, commit="c" * 40, task="text-classification")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.store.open()
        await self.backend.start(self.loop.wake)
        task = asyncio.create_task(self.loop.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled(), task

    async def add(self, *, namespace: str = "default", low: int = 1, **model: object) -> Endpoint:
        spec = make_spec("good-1", low, max(1, low))
        changed = replace(spec.workload.model, **model)
        spec = replace(spec, workload=replace(spec.workload, model=changed))
        endpoint = intents.create(
            spec, id="e", namespace=namespace, name="e", person=PERSON, now=self.clock()
        )
        await self.store.add_endpoint(
            endpoint, Event(T0, "e", namespace, "e", "endpointCreated", "x", None, "")
        )
        self.loop.wake()
        return endpoint

    async def change(self, intent: Callable[[Endpoint], Endpoint]) -> None:
        found = await self.store.get_endpoint_by_id("e")
        assert found is not None
        assert await self.store.commit(intent(found)) is not None
        self.loop.wake()

    async def until(self, state: State, *, ticks: int = 0) -> Endpoint:
        """Let the loop go on, and time if `ticks`, until the record is in `state`."""
        for turn in range(600):
            found = await self.store.get_endpoint_by_id("e")
            if found is not None and found.state is state:
                return found
            if ticks and turn % 20 == 19:
                self.backend.tick()
                ticks -= 1
            await asyncio.sleep(0)
        raise AssertionError(f"never {state}: {found}")

    async def until_true(self, what: str, condition: Callable[[], object], *, ticks: int = 0) -> None:
        for turn in range(600):
            if condition():
                return
            if ticks and turn % 20 == 19:
                self.backend.tick()
                ticks -= 1
            await asyncio.sleep(0)
        raise AssertionError(f"never: {what}")

    async def table(self) -> list[tuple[str, int]]:
        found = await self.publisher.newer_than(None, wait=1.0)
        assert found is not None
        return [(r.state.value, len(r.upstreams)) for r in found.routes]

    async def replicas(self) -> dict[str, int]:
        return {s.id: len(s.replicas) for s in await self.backend.observe()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_from_nothing_to_running_to_gone(site: Site) -> None:
    async with site.running():
        await site.add()
        await site.until(State.INITIALIZING)
        assert await site.table() == [("pending", 0)] or await site.table() == [("initializing", 0)]
        endpoint = await site.until(State.RUNNING, ticks=5)
        assert (endpoint.ready, endpoint.deployed) == (1, True)
        assert endpoint.target.source is not None
        assert await site.table() == [("running", 1)]
        await site.change(lambda e: intents.delete(e, person=PERSON, now=site.clock()))
        await site.until_true("nothing left", lambda: not site.backend._sets, ticks=5)
        for _ in range(100):
            await asyncio.sleep(0)
        assert await site.store.all_endpoints() == []
        assert await site.table() == []
        kinds = [e.message for e in await site.store.list_events("e", limit=10)]
        assert any("initializing → running: ready" in m for m in kinds)


async def test_secrets_are_opened_only_for_the_platform_and_the_right_hub_token_goes_out(site: Site) -> None:
    async with site.running():
        sealed = {"HF_TOKEN": site.vault.seal("own-token"), "KEY": site.vault.seal("hush")}
        endpoint = await site.add(secrets=sealed, env={"PLAIN": "1"})
        await site.until(State.INITIALIZING)
        assert site.lookups == [("good-1", "own-token")]
        launch = site.backend._sets["e-r1"].applied.launch
        assert dict(launch.env) == {"PLAIN": "1", "HF_TOKEN": "own-token", "KEY": "hush"}
        assert "hush" not in repr(endpoint)
        assert "hush" not in repr(launch)


@pytest.mark.parametrize(("namespace", "token"), [("default", "hub-token"), ("acme", None)])
async def test_the_servers_own_hub_token_is_lent_to_the_first_namespace_only(
    site: Site, namespace: str, token: str | None
) -> None:
    async with site.running():
        await site.add(namespace=namespace)
        await site.until(State.INITIALIZING)
        assert site.lookups == [("good-1", token)]
        assert site.backend._sets["e-r1"].applied.launch.env.get("INLET_HUB_TOKEN") == token


async def test_what_the_hub_or_the_platform_refuses_is_said_and_a_repair_is_taken(site: Site) -> None:
    async with site.running():
        site.lookup_errors = [Refused("good-1 was not found on the Hub")]
        await site.add()
        failed = await site.until(State.FAILED)
        assert failed.failure is not None
        assert "not found on the Hub" in failed.failure.message
        site.backend.faults = {Fault.REFUSING}
        spec = make_spec("good-2", 1, 1)
        await site.change(lambda e: intents.update(e, spec, person=PERSON, now=site.clock()))
        await site.until(State.PENDING)
        failed = await site.until(State.FAILED)
        assert failed.failure is not None
        assert "quota" in failed.failure.message
        site.backend.faults = set()
        spec = make_spec("good-3", 1, 1)
        await site.change(lambda e: intents.update(e, spec, person=PERSON, now=site.clock()))
        await site.until(State.RUNNING, ticks=5)


async def test_a_crash_loop_ends_in_failed_with_the_last_words(site: Site) -> None:
    site.backend.behaviour = CRASHING
    async with site.running():
        await site.add()
        failed = await site.until(State.FAILED, ticks=20)
        assert failed.failure is not None
        assert "Gave up after 3 failed starts. Ended with code 1" in failed.failure.message
        await site.until_true("cleaned up", lambda: not site.backend._sets, ticks=5)
        site.backend.behaviour = FakeBackend().behaviour
        await site.change(lambda e: intents.resume(e, person=PERSON, now=site.clock()))
        assert (await site.until(State.RUNNING, ticks=5)).target.number == 2


async def test_what_was_ready_is_never_given_up_however_often_it_ends(site: Site) -> None:
    site.backend.behaviour = SHORT_LIVED
    async with site.running():
        await site.add()
        await site.until(State.RUNNING, ticks=5)
        often = site.loop._policy.max_failed_starts + 2
        await site.until_true("often", lambda: site.backend._sets["e-r1"].ends == often, ticks=25)
        site.backend.behaviour = FakeBackend().behaviour
        await site.until_true("it lasts", lambda: site.backend._sets["e-r1"].ends == 0, ticks=5)
        found = await site.until(State.RUNNING)
        assert (found.target.number, found.failure) == (1, None)


async def test_a_bad_update_leaves_the_old_revision_serving(site: Site) -> None:
    async with site.running():
        await site.add()
        await site.until(State.RUNNING, ticks=5)
        site.backend.behaviours["e-r2"] = MISCONFIGURED
        spec = make_spec("good-2", 1, 1)
        await site.change(lambda e: intents.update(e, spec, person=PERSON, now=site.clock()))
        failed = await site.until(State.UPDATE_FAILED, ticks=5)
        assert failed.failure is not None
        assert "no such task" in failed.failure.message
        assert await site.table() == [("updateFailed", 1)]
        await site.until_true("only the old set", lambda: set(site.backend._sets) == {"e-r1"}, ticks=5)


async def test_it_falls_asleep_and_a_waiting_request_wakes_it(site: Site) -> None:
    async with site.running():
        await site.add(low=0)
        await site.until(State.RUNNING, ticks=5)
        site.later = 15 * 60
        site.loop.wake()
        await site.until(State.SCALED_TO_ZERO)
        await site.until_true("stopped", lambda: not site.backend._sets, ticks=5)
        assert await site.table() == [("scaledToZero", 0)]
        waits = Signals(
            "r1", (Signal("e", in_flight=0, waiting=1, requests=1, last_request_at=site.clock()),)
        )
        assert site.board.record(waits, site.clock())
        site.loop.wake()
        await site.until(State.RUNNING, ticks=5)


async def test_a_request_that_waited_before_it_fell_asleep_does_not_wake_it(site: Site) -> None:
    async with site.running():
        await site.add(low=0)
        await site.until(State.RUNNING, ticks=5)
        waited = Signals("r1", (Signal("e", in_flight=0, waiting=1, requests=1, last_request_at=None),))
        site.board.record(waited, site.clock())
        site.later = 0.5
        await site.change(lambda e: intents.scale_to_zero(e, person=PERSON, now=site.clock()))
        await site.until_true("stopped", lambda: not site.backend._sets, ticks=5)
        await site.until(State.SCALED_TO_ZERO)
        site.board.record(waited, site.clock())
        site.loop.wake()
        await site.until(State.RUNNING, ticks=5)


@pytest.mark.parametrize(("server", "own"), [("inl_server", None), (None, "inl_own")])
async def test_a_token_of_inlet_never_goes_to_the_hub(
    site: Site, server: str | None, own: str | None
) -> None:
    site.launcher = Launcher(vault=site.vault, server_token=server, first_namespace="default")
    site.loop = site.make_loop()
    async with site.running():
        await site.add(secrets={} if own is None else {"HF_TOKEN": site.vault.seal(own)})
        if own is None:
            await site.until(State.INITIALIZING)
            assert site.lookups == [("good-1", None)]
        else:
            failed = await site.until(State.FAILED)
            assert failed.failure is not None
            assert "token of Inlet" in failed.failure.message
            assert site.lookups == []


async def test_a_blind_or_failing_platform_changes_nothing_and_is_asked_again(site: Site) -> None:
    async with site.running():
        await site.add()
        await site.until(State.RUNNING, ticks=5)
        before = await site.store.get_endpoint_by_id("e")
        site.backend.faults = {Fault.BLIND}
        site.loop.wake()
        for _ in range(200):
            await asyncio.sleep(0)
        assert await site.store.get_endpoint_by_id("e") == before
        assert await site.table() == [("running", 1)]
        site.backend.faults = {Fault.FAILING}
        site.backend.lose("e-r1")
        await site.until(State.INITIALIZING)
        site.backend.faults = set()
        site.later = 60.0
        site.loop.wake()
        await site.until(State.RUNNING, ticks=5)


async def test_a_hub_that_is_away_is_asked_again_and_people_are_not_kept_waiting(site: Site) -> None:
    async with site.running():
        site.lookup_errors = [Unavailable("the Hub could not be asked")]
        await site.add()
        await site.until_true("asked once", lambda: len(site.lookups) == 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert (await site.until(State.PENDING)).note == "the Hub could not be asked"
        await site.change(lambda e: intents.pause(e, person=PERSON, now=site.clock()))
        await site.until(State.PAUSED)
        site.later = 60.0
        await site.change(lambda e: intents.resume(e, person=PERSON, now=site.clock()))
        await site.until(State.RUNNING, ticks=5)
        assert len(site.lookups) == 2


async def test_a_mistake_of_ours_with_one_endpoint_does_not_end_the_loop(site: Site) -> None:
    async with site.running():
        site.lookup_errors = [RuntimeError("a bug")]
        await site.add()
        await site.until_true("asked once", lambda: len(site.lookups) == 1)
        site.later = 60.0
        site.loop.wake()
        endpoint = await site.until(State.RUNNING, ticks=5)
        assert endpoint.note is None


async def test_strays_are_removed_and_a_new_loop_finds_everything(site: Site) -> None:
    async with site.running():
        await site.add()
        await site.until(State.RUNNING, ticks=5)
    applied = site.backend._sets["e-r1"].applied
    await site.backend.apply(replace(applied, id="stray-r1", endpoint_id="stray"))
    site.loop = site.make_loop()
    async with site.running():
        await site.until_true("stray gone", lambda: set(site.backend._sets) == {"e-r1"}, ticks=5)
        assert await site.replicas() == {"e-r1": 1}
        assert await site.table() == [("running", 1)]


async def test_a_lead_that_ends_with_a_commit_ends_before_the_calls(site: Site) -> None:
    commit = site.store.commit

    async def last_commit(endpoint: Endpoint, events: Sequence[Event]) -> Endpoint | None:
        done = await commit(endpoint, events)
        site.leads = False
        return done

    site.store.commit = last_commit
    async with site.running():
        await site.add()
        await site.until_true("a commit", lambda: not site.leads, ticks=5)
        await site.until_true("its calls refused", lambda: site.loop._memory["e"].note is not None, ticks=5)
        assert await site.replicas() == {}


async def test_no_stray_is_removed_without_the_lead(site: Site) -> None:
    async with site.running():
        await site.add()
        await site.until(State.RUNNING, ticks=5)
    stray = replace(site.backend._sets["e-r1"].applied, id="stray-r1", endpoint_id="stray")
    await site.backend.remove("e-r1", grace=0.0)
    await site.backend.apply(stray)
    site.store, site.leads = MemoryStore(), False
    site.loop = site.make_loop()
    async with site.running():
        await site.until_true("a pass", lambda: site.loop._failed, ticks=5)
        assert "stray-r1" in site.backend._sets
        site.leads = True
        site.loop.wake()
        await site.until_true("stray gone", lambda: "stray-r1" not in site.backend._sets, ticks=5)


async def test_one_that_never_becomes_ready_is_given_up_in_time(site: Site) -> None:
    site.backend.behaviour = NEVER_READY
    async with site.running():
        await site.add()
        await site.until(State.INITIALIZING)
        site.later = 601.0
        site.loop.wake()
        failed = await site.until(State.FAILED)
        assert failed.failure is not None
        assert "Not ready within 600 s" in failed.failure.message


async def test_a_set_that_drains_is_told_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    remove = site.backend.remove

    async def counted(replica_set_id: str, *, grace: float) -> None:
        told.append(replica_set_id)
        await remove(replica_set_id, grace=grace)

    monkeypatch.setattr(site.backend, "remove", counted)
    async with site.running():
        await site.add()
        await site.until(State.RUNNING, ticks=5)
        await site.change(lambda e: intents.pause(e, person=PERSON, now=site.clock()))
        await site.until(State.PAUSED)
        for _ in range(500):
            await asyncio.sleep(0)
        assert told == ["e-r1"]


async def test_a_refusal_while_running_is_not_asked_again_at_once_and_ends_with_its_cause(site: Site) -> None:
    applied: list[int] = []
    apply = site.backend.apply

    async def counted(replica_set: ReplicaSet) -> None:
        applied.append(replica_set.n)
        await apply(replica_set)

    async with site.running():
        await site.add()
        await site.until(State.RUNNING, ticks=5)
        site.backend.apply = counted
        site.backend.faults = {Fault.REFUSING}
        await site.change(
            lambda e: intents.update(e, make_spec("good-1", 2, 2), person=PERSON, now=site.clock())
        )
        for _ in range(500):
            await asyncio.sleep(0)
        assert applied == [2]
        assert await site.table() == [("running", 1)]
        site.backend.faults = set()
        site.later = 60.0
        site.loop.wake()
        await site.until_true("two", lambda: len(site.backend._sets["e-r1"].replicas) == 2, ticks=5)
        # A refusal that no longer holds must not be taken for the reason of a later loss.
        for replica in tuple(site.backend._sets["e-r1"].replicas):
            site.backend.crash(replica)
        await site.until(State.INITIALIZING)
        await site.until(State.RUNNING, ticks=5)


async def test_what_cannot_be_forgotten_holds_up_no_other_endpoint(site: Site) -> None:
    async def broken(_endpoint_id: str) -> None:
        raise PermissionError("not yours")

    forget, site.backend.forget = site.backend.forget, broken
    async with site.running():
        await site.add()
        await site.until(State.RUNNING, ticks=5)
        await site.change(lambda e: intents.delete(e, person=PERSON, now=site.clock()))
        await site.until_true("nothing left", lambda: not site.backend._sets, ticks=5)
        await site.until_true("routers know", lambda: not site.publisher._table.routes)
        assert [e.state for e in await site.store.all_endpoints()] == [State.DELETING]
        site.backend.forget = forget
        site.loop.wake()
        for _ in range(100):
            await asyncio.sleep(0)
        assert await site.store.all_endpoints() == []


async def test_an_observation_from_before_an_action_ended_is_not_judged_by(site: Site) -> None:
    """Else a set that was being made is missed, and the endpoint counts as gone while it still runs something."""
    applying, go_on = asyncio.Event(), asyncio.Event()
    apply, observe = site.backend.apply, site.backend.observe

    async def slow(replica_set: ReplicaSet) -> None:
        applying.set()
        await go_on.wait()
        await apply(replica_set)

    async def before(*_: object) -> Sequence[SeenReplicaSet]:
        seen = await observe()
        if applying.is_set() and not go_on.is_set():
            go_on.set()
            for _ in range(20):  # the platform is slow to answer, and the action ends meanwhile
                await asyncio.sleep(0)
        return seen

    site.backend.apply, site.backend.observe = slow, before
    forgotten: list[bool] = []
    forget = site.backend.forget

    async def noted(endpoint_id: str) -> None:
        forgotten.append(bool(site.backend._sets))
        await forget(endpoint_id)

    site.backend.forget = noted
    async with site.running():
        await site.add()
        await applying.wait()
        await site.change(lambda e: intents.delete(e, person=PERSON, now=site.clock()))
        await site.until_true("forgotten", lambda: forgotten, ticks=8)
        assert forgotten == [False]


async def test_a_cause_that_was_mended_elsewhere_needs_no_change_of_the_endpoint(site: Site) -> None:
    """Conditions accepted on the Hub, a folder put in its place: nothing of the endpoint itself is wrong."""
    async with site.running():
        site.lookup_errors = [Refused("good-1 is gated on the Hub: accept its conditions there")]
        await site.add()
        failed = await site.until(State.FAILED)
        with pytest.raises(WrongState, match=r"must be updated.*paused and then resumed.*gated"):
            intents.resume(failed, person=PERSON, now=site.clock())
        await site.change(lambda e: intents.pause(e, person=PERSON, now=site.clock()))
        await site.change(lambda e: intents.resume(e, person=PERSON, now=site.clock()))
        await site.until(State.RUNNING, ticks=5)


async def test_an_endpoint_that_waited_in_vain_says_for_what(site: Site) -> None:
    async with site.running():
        site.lookup_errors = [Unavailable("the Hub could not be asked about good-1")] * 2
        await site.add()
        await site.until_true("asked once", lambda: len(site.lookups) == 1)
        site.later = 601.0
        site.loop.wake()
        failed = await site.until(State.FAILED)
        assert failed.failure is not None
        assert failed.failure.message == "Not ready within 600 s; the Hub could not be asked about good-1"
