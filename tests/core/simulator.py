"""A world for the control loop: one endpoint, a platform that misbehaves, people, traffic and a clock.

The loop around `step` is the one that `control/reconciler.py` runs (observe, step, guarded commit, act), with every
point where a process can die made into a choice. Driven by `test_simulator.py`; knows the rules of the product only as
statements about what is at rest, said again in its own words.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from inlet.core import intents
from inlet.core.autoscale import Load
from inlet.core.endpoint import Cause, Endpoint, Failure, Person, Source, State, replica_set_id
from inlet.core.errors import WrongState
from inlet.core.facts import Policy, Seen
from inlet.core.lifecycle import TABLE, Intent
from inlet.core.seen import Exit, ExitKind, Phase, SeenReplica, SeenReplicaSet
from inlet.core.spec import Hardware, Image, Model, Scaling, Spec, Visibility, Workload
from inlet.core.step import Apply, LookUp, Outcome, Remove, step

POLICY = Policy(startup_timeout=600.0, max_failed_starts=3, grace=5.0)
PERSON = Person("0" * 24, "somebody")


def make_spec(model: str = "good-1", low: int = 1, high: int = 3, timeout: int | None = 15) -> Spec:
    workload = Workload(
        Hardware("aws", "us-east-1", "cpu", "intel-spr", "x1"),
        Model(repository=model, framework="pytorch", image=Image("huggingface")),
    )
    return Spec(Visibility.PRIVATE, workload, Scaling(low, high, timeout if low == 0 else None))


@dataclass
class Process:
    id: str
    ready_at: float
    fate: str  # runs, crashes, config, hangs
    phase: Phase = Phase.INITIALIZING
    stops_at: float = 0.0


@dataclass
class Kept:
    """One replica set on the misbehaving platform."""

    id: str
    revision: int
    model: str
    n: int
    processes: list[Process] = field(default_factory=list)
    failed_starts: int = 0
    ends: int = 0
    last_exit: Exit | None = None
    born: int = 0


class Platform:
    """Slow, failing, crashing and forgetful, by the roll of `rng`; `calm` makes it behave.

    What a model's name begins with is its fate: good, crashes, config, hangs; `refused` and `missing` never start.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.sets: dict[str, Kept] = {}
        self.calm = False
        self.blind = False
        self.rotten: set[str] = set()  # models that ran once and will not start any more

    def apply(self, set_id: str, revision: int, model: str, n: int) -> str | None:
        """The reason of a refusal, or None."""
        if model.startswith("refused"):
            return "no such instance in this region"
        kept = self.sets.setdefault(set_id, Kept(set_id, revision, model, n))
        kept.n = n
        return None

    def remove(self, set_id: str) -> None:
        kept = self.sets.get(set_id)
        if kept is not None:
            kept.n = 0

    def advance(self, now: float) -> None:
        """Let the platform do its work up to `now`, and misbehave."""
        for kept in list(self.sets.values()):
            self._reap(kept, now)
            if not self.calm:
                self._misbehave(kept)
            if kept.id not in self.sets:
                continue
            live = [p for p in kept.processes if p.phase is not Phase.TERMINATING]
            exhausted = kept.last_exit is not None and kept.last_exit.kind is ExitKind.CONFIGURATION
            for _ in range(kept.n - len(live) if not exhausted else 0):
                kept.born += 1
                fate = "crashes" if kept.model in self.rotten else kept.model.split("-")[0]
                delay = self.rng.choice([0.0, 1.0, 30.0])
                kept.processes.append(Process(f"{kept.id}-{kept.born}", now + delay, fate))
            for extra in sorted(live, key=lambda p: p.phase is Phase.RUNNING)[: max(0, len(live) - kept.n)]:
                extra.phase, extra.stops_at = Phase.TERMINATING, now + self.rng.choice([0.0, 3.0])
            if kept.n == 0 and not kept.processes:
                del self.sets[kept.id]

    def _reap(self, kept: Kept, now: float) -> None:
        for process in list(kept.processes):
            if process.phase is Phase.TERMINATING:
                if now >= process.stops_at:
                    kept.processes.remove(process)
            elif now >= process.ready_at and process.phase is not Phase.RUNNING:
                if process.fate == "crashes":
                    self._end(kept, process, Exit(ExitKind.CRASHED, "ValueError: boom", 1))
                elif process.fate == "config":
                    self._end(kept, process, Exit(ExitKind.CONFIGURATION, "no config.json in the model", 78))
                elif process.fate != "hangs":
                    process.phase = Phase.RUNNING
                    kept.failed_starts = 0

    def _misbehave(self, kept: Kept) -> None:
        if self.rng.random() < 0.02:
            del self.sets[kept.id]  # forgets the whole set
        elif self.rng.random() < 0.02:
            self.rotten.add(kept.model)
            for process in list(kept.processes):
                self._end(kept, process, Exit(ExitKind.CRASHED, "killed", -9))
        elif kept.processes and self.rng.random() < 0.08:
            self._end(kept, self.rng.choice(kept.processes), Exit(ExitKind.CRASHED, "killed", -9))

    @staticmethod
    def _end(kept: Kept, process: Process, why: Exit) -> None:
        kept.processes.remove(process)
        if process.phase is not Phase.TERMINATING:
            kept.failed_starts += process.phase is not Phase.RUNNING
            kept.ends += 1
            kept.last_exit = why

    def observe(self) -> tuple[SeenReplicaSet, ...] | None:
        if self.blind:
            return None
        return tuple(
            SeenReplicaSet(
                id=k.id, endpoint_id="e", revision=k.revision, n=k.n, failed_starts=k.failed_starts, ends=k.ends, last_exit=k.last_exit,
                replicas=tuple(
                    SeenReplica(p.id, p.phase, address=f"unix:/{p.id}" if p.phase is Phase.RUNNING else None)
                    for p in k.processes
                ),
            )
            for k in self.sets.values()
        )  # fmt: skip


class World:
    """One endpoint's history. `taken` counts the rows of the table that were taken, over all worlds of a test."""

    def __init__(self, seed: int, taken: Counter[tuple[str, str]]) -> None:
        self.rng = random.Random(seed)
        self.taken = taken
        self.platform = Platform(self.rng)
        self.now = 1_000_000.0
        self.endpoint = intents.create(
            make_spec(self._model(), *self._bounds()),
            id="e",
            namespace="default",
            name="e",
            person=PERSON,
            now=self.now,
        )
        self.waiting = 0
        self.in_flight = 0
        self.last_request_at: float | None = None
        self.lookup: Source | Failure | None = None
        self.looked_up = 0
        self.refused: dict[str, str] = {}

    # People

    def _model(self) -> str:
        kind = self.rng.choices(
            ["good", "crashes", "config", "hangs", "refused", "missing"], [6, 2, 1, 1, 1, 1]
        )[0]
        return f"{kind}-{self.rng.randrange(1000)}"

    def _bounds(self) -> tuple[int, int]:
        low = self.rng.choice([0, 0, 1, 2])
        return low, self.rng.choice([max(1, low), 3])

    def person(self) -> None:
        if self.endpoint.state in (State.DELETING, State.GONE):
            return
        match self.rng.choice(["update", "update", "bounds", "pause", "resume", "resume", "zero", "delete"]):
            case "update":
                scaling = self.endpoint.spec.scaling
                spec = make_spec(self._model(), scaling.min_replica, scaling.max_replica)
                self._intend(Intent.UPDATE, lambda e: intents.update(e, spec, person=PERSON, now=self.now))
            case "bounds":
                low, high = self._bounds()
                spec = replace(self.endpoint.spec, scaling=Scaling(low, high, 15 if low == 0 else None))
                self._intend(None, lambda e: intents.update(e, spec, person=PERSON, now=self.now))
            case "pause":
                self._intend(Intent.PAUSE, lambda e: intents.pause(e, person=PERSON, now=self.now))
            case "resume":
                self._intend(Intent.RESUME, lambda e: intents.resume(e, person=PERSON, now=self.now))
            case "zero":
                self._intend(
                    Intent.SCALE_TO_ZERO, lambda e: intents.scale_to_zero(e, person=PERSON, now=self.now)
                )
            case _ if self.rng.random() < 0.15:
                self._intend(Intent.DELETE, lambda e: intents.delete(e, person=PERSON, now=self.now))

    def _intend(self, intent: Intent | None, change: Callable[[Endpoint], Endpoint]) -> None:
        """`intent` is None for a change that is no row of the table."""
        before = self.endpoint
        try:
            after = change(before)
        except WrongState:
            return
        if intent is not None:
            self.taken[before.state, intent] += 1
        self.endpoint = replace(after, version=before.version + 1)

    # Traffic

    def traffic(self) -> None:
        routed = self.endpoint.ready > 0
        self.in_flight = self.rng.choice([0, 0, 1, 5]) if routed else 0
        asleep_or_starting = self.endpoint.state in (
            State.SCALED_TO_ZERO, State.PENDING, State.INITIALIZING, State.UPDATING,
        )  # fmt: skip
        self.waiting = self.rng.choice([0, 1]) if asleep_or_starting and not routed else 0
        if self.in_flight:
            self.last_request_at = self.now

    # The loop

    def turn(self) -> None:
        """One turn of the control loop, cut off at any point when the world is not calm."""
        if self.endpoint.state is State.GONE:
            return
        before = self.endpoint
        sets = self.platform.observe()
        if sets is None:
            return  # a failed observation is not an empty one
        if self.rng.random() < 0.1 and not self.platform.calm:
            self.person()  # somebody goes on while we think
        outcome = step(before, self._seen(before, sets), self._load(), self.now, POLICY)
        if self.endpoint.version != before.version:
            return  # guarded commit: zero rows
        self._note_facts(before, outcome)
        if outcome.endpoint != before:
            self.endpoint = replace(outcome.endpoint, version=before.version + 1)
        self._act(outcome)

    def _seen(self, endpoint: Endpoint, sets: tuple[SeenReplicaSet, ...]) -> Seen:
        lookup = self.lookup if self.looked_up == endpoint.target.number else None
        return Seen(sets, lookup, dict(self.refused))

    def _load(self) -> Load:
        return Load(self.in_flight, self.waiting, float(self.in_flight), self.last_request_at, None)

    def _note_facts(self, before: Endpoint, outcome: Outcome) -> None:
        state = before.state
        for fact in outcome.facts:
            self.taken[state, fact] += 1
            state = next(row.next for row in TABLE if (row.state, row.event) == (state, fact))
        assert state is outcome.endpoint.state

    def _act(self, outcome: Outcome) -> None:
        for action in outcome.actions:
            if not self.platform.calm and self.rng.random() < 0.2:
                return  # killed between commit and act, or the call was lost
            match action:
                case LookUp(revision):
                    model = revision.workload.model.repository
                    self.looked_up = revision.number
                    self.lookup = (
                        Failure(Cause.CONFIGURATION, f"{model} is not on the Hub")
                        if model.startswith("missing")
                        else Source(model, local=False, commit="c" * 40, task="text-classification")
                    )
                case Apply(revision, n):
                    set_id = replica_set_id(outcome.endpoint, revision)
                    reason = self.platform.apply(
                        set_id, revision.number, revision.workload.model.repository, n
                    )
                    if reason is not None:
                        self.refused[set_id] = reason
                case Remove(set_id, _):
                    self.platform.remove(set_id)

    # Time

    def live(self, ticks: int) -> None:
        for _ in range(ticks):
            self.now += self.rng.choice([0.5, 1.0, 5.0, 5.0, 60.0, 500.0])
            self.platform.blind = self.rng.random() < 0.1
            self.platform.advance(self.now)
            if self.rng.random() < 0.25:
                self.person()
            self.traffic()
            self.turn()

    def settle(self) -> None:
        """Let everything behave, without people or traffic, until nothing changes any more."""
        self.platform.calm, self.platform.blind = True, False
        self.waiting = self.in_flight = 0
        for tick in range(120):
            self.now += 5.0 if tick < 60 else 60.0
            self.platform.advance(self.now)
            self.turn()
