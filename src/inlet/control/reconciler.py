"""The control loop: observe → step → commit → act, for every endpoint, over and over.

The thin shell around `core/step.py`: all judgement is there, all I/O is here. Woken by commands, by the backend's
changes, by routers with waiting requests and by the clock; a pass that was missed costs nothing, because the next one
sees the same differences. Holds no transaction while it talks to a platform, and drops everything when a guarded
commit finds that somebody else went on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field

import structlog

from inlet.backends.base import Backend
from inlet.control.launch import Launcher
from inlet.control.link import RoutePublisher
from inlet.control.load import LoadBoard
from inlet.control.tables import route_table
from inlet.core.access import Token
from inlet.core.endpoint import Cause, Endpoint, Failure, Revision, Source, State, replica_set_id
from inlet.core.errors import BackendUnavailable, InletError, Refused, Unavailable
from inlet.core.facts import Policy, Seen
from inlet.core.seen import SeenReplicaSet
from inlet.core.step import Action, Apply, LookUp, Outcome, Remove, step
from inlet.store.base import Event, Store

log = structlog.get_logger()

LONGEST_SLEEP_S = 30.0  # a pass for correctness's sake, whatever was missed
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 30.0
JUMP_S = 5.0  # a difference between the two clocks that is no correction in passing
_AT_REST = (State.PAUSED, State.SCALED_TO_ZERO, State.FAILED)


@dataclass(slots=True)
class _Memory:
    """What the loop remembers of one endpoint between passes; all of it can be found out again."""

    lookup: Source | Failure | None = None
    lookup_of: int = 0  # number of the revision that `lookup` is about
    refused: dict[str, str] = field(default_factory=dict)
    routed: tuple[str, ...] = ()  # replica sets whose ready replicas may be sent requests
    acting: asyncio.Task[None] | None = None
    looking: asyncio.Task[None] | None = None
    retry: float = FIRST_RETRY_S
    not_before: float = 0.0  # after a call failed, when the next one may be made; on the steady clock
    jumped: float = 0.0  # by how much the clock was set ahead since the record was last brought up to date
    note: str | None = None  # why the last call failed
    attempt: tuple[int, float] = (0, 0.0)  # revision and `starting_since` that the three above are about


class Reconciler:
    """One per control process. `run()` until cancelled; `wake()` from anywhere on the loop's thread.

    `lookup` is `control/lookup.py`'s `look_up`; `host_of` answers an endpoint's own host, None without a base domain.
    `clock` gives the time of day, which may be set at any moment; `steady` only the seconds that pass. Where several
    controls share the store, `leads` says whether this one may act, and `show` lets the others know what was seen and which
    replica sets are routed to.
    """

    def __init__(
        self,
        *,
        store: Store,
        backend: Backend,
        launcher: Launcher,
        board: LoadBoard,
        publisher: RoutePublisher,
        policy: Policy,
        lookup: Callable[..., Coroutine[None, None, Source]],
        host_of: Callable[[Endpoint], str | None],
        preset_tokens: Sequence[Token],
        clock: Callable[[], float],
        steady: Callable[[], float],
        leads: Callable[[], bool] | None = None,
        show: Callable[[Sequence[SeenReplicaSet], Collection[str]], Awaitable[None]] | None = None,
    ) -> None:
        self._store, self._backend, self._launcher = store, backend, launcher
        self._board, self._publisher, self._policy = board, publisher, policy
        self._lookup, self._host_of, self._preset_tokens = lookup, host_of, tuple(preset_tokens)
        self._clock, self._steady = clock, steady
        self._leads, self._show = leads, show
        self._looked_at = self._clock(), self._steady()
        self._memory: dict[str, _Memory] = {}
        self._known: tuple[Sequence[Endpoint], Sequence[Token]] | None = None  # as last read from the store
        self._failed = False  # the last pass, after its observation
        self._woken = asyncio.Event()

    def wake(self, _endpoint_id: str | None = None) -> None:
        """Look again now: an intent was committed, a replica changed, a request waits."""
        self._woken.set()

    async def run(self) -> None:
        """Pass after pass, from nothing but the records. Ends only by cancellation."""
        self._memory, self._known, self._looked_at = {}, None, (self._clock(), self._steady())
        retry = FIRST_RETRY_S
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                try:
                    sleep, retry = await self._pass(tasks), FIRST_RETRY_S
                except InletError as error:
                    # The database or the platform is away, or refuses: no step is taken, and traffic goes on.
                    log.warning("pass_failed", error=str(error))
                    sleep, retry = retry, min(2 * retry, LAST_RETRY_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(sleep):
                        await self._woken.wait()

    async def _pass(self, tasks: asyncio.TaskGroup) -> float:
        """Everything once; answers after how many seconds time alone will make a difference."""
        self._watch_clock()
        # What is being acted on may change while it is looked at; the end of the action wakes the pass that judges it.
        acting = {id_ for id_, m in self._memory.items() if m.acting is not None and not m.acting.done()}
        # Observed first: a set without a record is then truly a stray, for a record is written before its sets exist.
        sets = tuple(await self._backend.observe())
        if self._failed and self._known is not None:
            # The database may still be away, and take its time to say so; a replica that its platform has replaced
            # meanwhile must be found all the same.
            self._publish(*self._known, sets)
        self._failed = True
        sleep = await self._settle(tasks, acting, sets)
        self._failed = False
        return sleep

    async def _settle(
        self, tasks: asyncio.TaskGroup, acting: Collection[str], sets: Sequence[SeenReplicaSet]
    ) -> float:
        """The pass after its observation; answers as the pass does."""
        endpoints = await self._store.all_endpoints()
        next_at = self._now() + LONGEST_SLEEP_S
        current: list[Endpoint] = []
        pending: list[tuple[Endpoint, Outcome]] = []
        for endpoint in endpoints:
            outcome = None if endpoint.id in acting else await self._step_alone(endpoint, sets)
            current.append(endpoint if outcome is None else outcome.endpoint)
            if outcome is not None:
                pending.append((outcome.endpoint, outcome))
                next_at = min(next_at, outcome.look_again_at or next_at)
        # Routers learn first, so that nothing new is sent to a replica that is about to be told to leave.
        self._known = current, await self._store.list_tokens()
        self._publish(*self._known, sets)
        if self._show is not None:
            await self._show(sets, self._routed())
        for endpoint, outcome in pending:
            self._begin(endpoint, outcome.actions, tasks)
        known = {e.id for e in endpoints}
        for stray in (s for s in sets if s.endpoint_id not in known):
            log.warning("stray_removed", replica_set=stray.id)
            self._require_lead()
            await self._backend.remove(stray.id, grace=self._policy.grace)
        paused = (m.not_before - self._steady() for m in self._memory.values())
        # The clock may be set at any moment, so that a wait is bounded whatever was reckoned.
        waits = (next_at - self._now(), *(wait for wait in paused if wait > 0))
        return min(max(0.0, min(waits)), LONGEST_SLEEP_S)

    def _now(self) -> float:
        """The time of day as it was when the pass began, and the seconds since: a clock set meanwhile is for the next."""
        day, steady = self._looked_at
        return day + self._steady() - steady

    def _watch_clock(self) -> None:
        """Note by how much the clock was set since the last pass: what is measured by it must not take that for time."""
        (day_before, steady_before), self._looked_at = self._looked_at, (self._clock(), self._steady())
        ahead = (self._looked_at[0] - day_before) - (self._looked_at[1] - steady_before)
        if abs(ahead) < JUMP_S:
            return
        log.warning("clock_was_set", seconds=round(ahead))
        for memory in self._memory.values():
            # Of a clock that was set back the step needs no word: it takes no time in the future.
            memory.jumped = max(0.0, memory.jumped + ahead)

    async def _step_alone(self, endpoint: Endpoint, sets: Sequence[SeenReplicaSet]) -> Outcome | None:
        """`_step`; what goes wrong with one endpoint is left to the next pass, and holds up no other endpoint."""
        try:
            return await self._step(endpoint, sets)
        except Exception as error:
            if isinstance(error, Unavailable) and not isinstance(error, BackendUnavailable):
                raise  # the database: no endpoint can go on
            log.exception("step_broke", endpoint=endpoint.id)
            return None

    async def _step(self, endpoint: Endpoint, sets: Sequence[SeenReplicaSet]) -> Outcome | None:
        """Step and commit one endpoint; None when somebody else went on."""
        memory = self._remembered(endpoint)
        attempt = (endpoint.target.number, endpoint.starting_since)
        if memory.attempt != attempt:
            # Somebody tries something else: no pause of the last attempt holds it up.
            memory.attempt, memory.retry, memory.not_before, memory.note = attempt, FIRST_RETRY_S, 0.0, None
        now = self._now()
        own = tuple(s for s in sets if s.endpoint_id == endpoint.id)
        lookup = memory.lookup if memory.lookup_of == endpoint.target.number else None
        load = self._board.load(endpoint.id, cpu=_cpu(own), now=now)
        seen = Seen(own, lookup, memory.refused, memory.note, memory.jumped)
        outcome = step(endpoint, seen, load, now, self._policy)
        after = outcome.endpoint
        self._require_lead()
        if after.state is State.GONE:
            # Before the record goes, so that a kill in between repeats it.
            await self._backend.forget(endpoint.id)
        if after != endpoint:
            if await self._store.commit(after, _events(endpoint, outcome, now)) is None:
                self.wake()
                return None
            _log_change(endpoint, outcome)
        memory.jumped = 0.0
        memory.routed = outcome.routed
        if after.state in _AT_REST:
            memory.lookup, memory.refused = None, {}  # the next attempt asks anew
        if after.state is State.GONE:
            del self._memory[endpoint.id]
            self._board.forget(endpoint.id)
        return outcome

    # Acting

    def _begin(self, endpoint: Endpoint, actions: Sequence[Action], tasks: asyncio.TaskGroup) -> None:
        memory = self._memory.get(endpoint.id)
        if memory is None or self._steady() < memory.not_before:
            return
        calls = [a for a in actions if not isinstance(a, LookUp)]
        if calls:
            memory.acting = tasks.create_task(
                self._guard(endpoint, memory, self._act(endpoint, calls, memory))
            )
        for action in actions:
            known = memory.lookup_of == endpoint.target.number and memory.lookup is not None
            busy = memory.looking is not None and not memory.looking.done()
            if isinstance(action, LookUp) and not known and not busy:
                work = self._look_up(endpoint, action.revision, memory)
                memory.looking = tasks.create_task(self._guard(endpoint, memory, work))

    async def _guard(self, endpoint: Endpoint, memory: _Memory, work: Coroutine[None, None, None]) -> None:
        """One endpoint's work. What fails is tried again later, and holds up no other endpoint."""
        try:
            await work
            memory.retry, memory.note = FIRST_RETRY_S, None
            self.wake()
        except (Unavailable, Refused) as error:
            log.warning("call_failed", endpoint=endpoint.id, error=str(error), retry_in=memory.retry)
            self._back_off(memory, str(error))
        except Exception:
            # A mistake of ours that one endpoint brings to light must not stop the others.
            log.exception("call_broke", endpoint=endpoint.id)
            self._back_off(memory, "a mistake in Inlet itself, see control's log")

    async def _act(self, endpoint: Endpoint, actions: Sequence[Apply | Remove], memory: _Memory) -> None:
        """All of them; a refusal is remembered for the next step, and raised at the end so that it is not repeated at once."""
        refusal: Refused | None = None
        for action in actions:
            self._require_lead()
            if isinstance(action, Remove):
                await self._backend.remove(action.replica_set_id, grace=action.grace)
                continue
            set_id = replica_set_id(endpoint, action.revision)
            try:
                await self._apply(endpoint, action)
                memory.refused.pop(set_id, None)
            except Refused as error:
                memory.refused[set_id] = str(error)
                refusal = error
        if refusal is not None:
            raise refusal

    async def _apply(self, endpoint: Endpoint, action: Apply) -> None:
        catalogue = await self._backend.catalogue()
        await self._backend.apply(self._launcher.replica_set(endpoint, action.revision, action.n, catalogue))

    async def _look_up(self, endpoint: Endpoint, revision: Revision, memory: _Memory) -> None:
        model = revision.workload.model
        try:
            found: Source | Failure = await self._lookup(
                model, token=self._launcher.hub_token(endpoint, model)
            )
        except Refused as error:
            found = Failure(Cause.CONFIGURATION, str(error))
        memory.lookup, memory.lookup_of = found, revision.number

    def _require_lead(self) -> None:
        if self._leads is not None and not self._leads():
            raise Unavailable("another control may lead by now")

    def _remembered(self, endpoint: Endpoint) -> _Memory:
        return self._memory.setdefault(endpoint.id, _Memory())

    def _back_off(self, memory: _Memory, note: str) -> None:
        """Say why, and make no call before the pause is over; the next pass says when that is."""
        memory.note = note
        self.wake()
        memory.not_before = self._steady() + memory.retry
        memory.retry = min(2 * memory.retry, LAST_RETRY_S)

    # Telling the routers

    def _publish(
        self, endpoints: Sequence[Endpoint], tokens: Sequence[Token], sets: Sequence[SeenReplicaSet]
    ) -> None:
        self._publisher.publish(
            route_table(
                endpoints,
                sets,
                self._routed(),
                (*self._preset_tokens, *tokens),
                host_of=self._host_of,
                now=self._clock(),
            )
        )

    def _routed(self) -> frozenset[str]:
        return frozenset(id_ for memory in self._memory.values() for id_ in memory.routed)


def _cpu(sets: Sequence[SeenReplicaSet]) -> float | None:
    shares = [r.cpu for s in sets for r in s.ready if r.cpu is not None]
    return sum(shares) / len(shares) if shares else None


def _events(before: Endpoint, outcome: Outcome, now: float) -> list[Event]:
    if not outcome.facts:
        return []
    after = outcome.endpoint
    message = f"{before.state} → {after.state}: {', '.join(outcome.facts)}"
    if after.failure is not None and after.failure != before.failure:
        message += f". {after.failure.message}"
    return [Event(now, after.id, after.namespace, after.name, "state", "inlet", None, message)]


def _log_change(before: Endpoint, outcome: Outcome) -> None:
    if outcome.facts:
        log.info(
            "state_changed",
            endpoint=before.id,
            name=f"{before.namespace}/{before.name}",
            before=before.state,
            after=outcome.endpoint.state,
            facts=[str(f) for f in outcome.facts],
        )
