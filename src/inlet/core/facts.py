"""What is true of one endpoint right now: the questions whose answers are the facts of the lifecycle.

A `Situation` is built and asked by `core/step.py`; it changes nothing. The rules behind the words (ready, idle, broken)
are here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from inlet.core.autoscale import Load
from inlet.core.endpoint import Cause, Endpoint, Failure, Revision, Source, State, replica_set_id
from inlet.core.lifecycle import NEXT, Fact
from inlet.core.seen import ExitKind, Phase, SeenReplicaSet


@dataclass(frozen=True, slots=True)
class Policy:
    """What is decided once for an installation."""

    startup_timeout: float = 1800.0  # seconds until a revision that never became ready has failed
    max_failed_starts: int = 5  # in a row; one that was ready has started, however soon it ends
    grace: float = 30.0  # seconds that a leaving replica may take to finish its requests


@dataclass(frozen=True, slots=True)
class Seen:
    """One endpoint's share of a complete observation, and what the loop itself learned on the way.

    `lookup` is the answer about the target's model, once there is one; `refused` maps replica sets to the reason why
    the platform will not run them; `note` says what a call that will be tried again failed of; `jumped` by how many
    seconds the clock was set ahead since the last step, beyond the time that passed.
    """

    sets: tuple[SeenReplicaSet, ...] = ()
    lookup: Source | Failure | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None
    jumped: float = 0.0


@dataclass(frozen=True, slots=True)
class Situation:
    """A record, and all that bears on it at `now`."""

    endpoint: Endpoint
    seen: Seen
    load: Load
    now: float
    policy: Policy

    def next_fact(self) -> Fact | None:
        """The first fact that holds and has a row in this state."""
        for fact in Fact:
            if (self.endpoint.state, fact) in NEXT and self._holds(fact):
                return fact
        return None

    def _holds(self, fact: Fact) -> bool:
        match fact:
            case Fact.EMPTIED:
                return not self.seen.sets
            case Fact.FELL_BACK:
                return self.broken() is not None and self._can_fall_back()
            case Fact.GAVE_UP:
                return self.broken() is not None and not self._can_fall_back()
            case Fact.SCHEDULED:
                return self._scheduled()
            case Fact.READY:
                return self.ready >= self._needed
            case Fact.LOST:
                return self.ready == 0
            case Fact.DEMAND:
                return self._demand()
            case Fact.IDLE:
                return self._idle()

    # Strength

    @property
    def ready(self) -> int:
        """Ready replicas of the target revision."""
        found = self._set_of(self.endpoint.target)
        return 0 if found is None else len(found.ready)

    @property
    def fallback(self) -> Revision | None:
        """The last good revision, if it is another than the target."""
        serving = self.endpoint.serving
        return None if serving is None or serving.number == self.endpoint.target.number else serving

    @property
    def _needed(self) -> int:
        """Ready replicas with which the target carries the endpoint: one, or full strength where another steps back."""
        return 1 if self.fallback is None else max(1, self.endpoint.replicas)

    def _set_of(self, revision: Revision) -> SeenReplicaSet | None:
        wanted = replica_set_id(self.endpoint, revision)
        return next((s for s in self.seen.sets if s.id == wanted), None)

    @property
    def hindered(self) -> str | None:
        """Why the platform cannot even begin to start the target, if that is so."""
        found = self._set_of(self.endpoint.target)
        if found is None or found.replicas or found.last_exit is None:
            return None
        return found.last_exit.message if found.last_exit.kind is ExitKind.NOT_STARTED else None

    def _scheduled(self) -> bool:
        found = self._set_of(self.endpoint.target)
        return found is not None and any(
            r.phase not in (Phase.TERMINATING, Phase.STOPPED) for r in found.replicas
        )

    # Demand and idleness

    def _demand(self) -> bool:
        """A request has waited since the endpoint fell asleep, or the bounds ask for a replica."""
        waits = self.load.waiting > 0 and self.load.waiting_at >= self.endpoint.since
        return waits or self.endpoint.spec.scaling.min_replica > 0

    def idle_deadline(self) -> float | None:
        """When the endpoint falls asleep if nothing comes in until then; None if it never does."""
        timeout, ready_since = self.endpoint.spec.scaling.idle_timeout, self.endpoint.ready_since
        if timeout is None or ready_since is None:
            return None
        used = max(self.endpoint.last_used_at or 0.0, self.load.last_request_at or 0.0)
        return max(ready_since, used) + timeout

    def _idle(self) -> bool:
        deadline = self.idle_deadline()
        busy = self.load.in_flight > 0 or self.load.waiting > 0
        return deadline is not None and self.now >= deadline and not busy

    # Failure

    def broken(self) -> Failure | None:
        """Why the revision that should come up does not, if it is time to stop trying."""
        if self.endpoint.state is State.UPDATE_FAILED:
            return None if self.fallback is None else self._exhausted(self.fallback)
        if self.ready >= self._needed:
            return None
        if self.endpoint.target.source is None and isinstance(self.seen.lookup, Failure):
            return self.seen.lookup
        return self._exhausted(self.endpoint.target) or self._overdue()

    def _can_fall_back(self) -> bool:
        return (
            self.endpoint.state is not State.UPDATE_FAILED
            and self.fallback is not None
            and self._exhausted(self.fallback) is None
        )

    def _exhausted(self, revision: Revision) -> Failure | None:
        """Why the platform will not get this revision up, however long we wait."""
        reason = self.seen.refused.get(replica_set_id(self.endpoint, revision))
        if reason is not None:
            return Failure(Cause.CONFIGURATION, reason)
        found = self._set_of(revision)
        if found is None or found.n == 0 or found.last_exit is None:
            return None
        if found.last_exit.kind is ExitKind.CONFIGURATION and not found.ready:
            return Failure(Cause.CONFIGURATION, found.last_exit.message)
        if found.failed_starts >= self.policy.max_failed_starts:
            why = f"Gave up after {found.failed_starts} failed starts. {found.last_exit.message}"
            return Failure(Cause.RUNTIME, why)
        return None

    def _overdue(self) -> Failure | None:
        if self.now - self.endpoint.starting_since < self.policy.startup_timeout:
            return None
        late = f"Not ready within {self.policy.startup_timeout:.0f} s; "
        if self.endpoint.target.source is None:
            return Failure(
                Cause.RUNTIME, late + (self.seen.note or "nothing could be learned about the model")
            )
        found = self._set_of(self.endpoint.target)
        if found is None or not found.replicas:
            why = self.seen.note or self.hindered or "the platform started no replica"
            return Failure(Cause.RUNTIME, late + why)
        last = found.replicas[-1]
        return Failure(Cause.RUNTIME, f"{late}last seen: {last.phase} {last.detail}".rstrip())
