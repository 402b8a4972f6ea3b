"""The middle of the control loop: what was seen in, what to do out. One pure function and its parts.

`control/reconciler.py` observes, calls `step`, commits the record, then carries out the actions. Level-triggered: every
step says again all that is still to be done, so an action that was lost is simply issued again. Nothing here knows what
a platform, a database or a clock is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from inlet.core.autoscale import AUTOSCALE_INTERVAL_S, Load, desired_replicas
from inlet.core.endpoint import Endpoint, Failure, Revision, Source, State, replica_set_id
from inlet.core.facts import Policy, Seen, Situation
from inlet.core.intents import enter
from inlet.core.lifecycle import NEXT, Fact
from inlet.core.seen import Phase, SeenReplicaSet

LAST_USED_RESOLUTION_S = 30.0
"""How far the stored `last_used_at` may lag: it is not worth a write per request."""

_STARTING = (State.PENDING, State.INITIALIZING, State.UPDATING)


@dataclass(frozen=True, slots=True)
class LookUp:
    """Find out what the revision's model is."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Apply:
    """Make the platform keep `n` replicas of the revision."""

    revision: Revision
    n: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Drain and stop all of a replica set."""

    replica_set_id: str
    grace: float


Action = LookUp | Apply | Remove


@dataclass(frozen=True, slots=True)
class Outcome:
    """The record as it should be stored, what to do next, when to look again at the latest, and what happened.

    `routed` names the replica sets whose ready replicas may be sent requests.
    """

    endpoint: Endpoint
    actions: tuple[Action, ...]
    routed: tuple[str, ...]
    look_again_at: float | None
    facts: tuple[Fact, ...]


def step(endpoint: Endpoint, seen: Seen, load: Load, now: float, policy: Policy) -> Outcome:
    """Take every fact that has a row, then say what the platform should be told."""
    at = Situation(_follow(_learn(endpoint, seen), seen.jumped, now), seen, load, now, policy)
    facts: list[Fact] = []
    while (fact := at.next_fact()) is not None:
        facts.append(fact)
        at = replace(at, endpoint=_take(at, fact))
    at = replace(at, endpoint=_scale(at))
    wanted = _wanted(at)
    return Outcome(
        endpoint=_remember(at, wanted),
        actions=_actions(at, wanted),
        routed=tuple(wanted),
        look_again_at=_look_again_at(at),
        facts=tuple(facts),
    )


def _learn(endpoint: Endpoint, seen: Seen) -> Endpoint:
    if endpoint.target.source is None and isinstance(seen.lookup, Source):
        return replace(endpoint, target=replace(endpoint.target, source=seen.lookup))
    return endpoint


def _follow(endpoint: Endpoint, jumped: float, now: float) -> Endpoint:
    """Move the times from which something is measured along with a clock that was set.

    Set ahead: by `jumped`, so that nothing is overdue or idle by the jump alone. Set back: what would lie in the future
    is now, so that every wait begins again at most once instead of lasting until the clock has caught up.
    """

    def moved(at: float) -> float:
        return min(at + jumped, now)

    return replace(
        endpoint,
        since=moved(endpoint.since),
        starting_since=moved(endpoint.starting_since),
        ready_since=None if endpoint.ready_since is None else moved(endpoint.ready_since),
        last_used_at=None if endpoint.last_used_at is None else moved(endpoint.last_used_at),
        scaled_at=moved(endpoint.scaled_at),
    )


def _take(at: Situation, fact: Fact) -> Endpoint:
    changed = enter(at.endpoint, NEXT[at.endpoint.state, fact], at.now)
    match fact:
        case Fact.LOST:
            return replace(changed, starting_since=at.now)
        case Fact.FELL_BACK:
            # The idle clock of the last good revision goes on from here if it was not running before.
            return replace(changed, failure=at.broken(), ready_since=at.endpoint.ready_since or at.now)
        case Fact.GAVE_UP:
            return replace(changed, failure=_both(at.endpoint.failure, at.broken()))
        case _:
            return changed


def _both(first: Failure | None, second: Failure | None) -> Failure | None:
    """Why the newest revision failed, and then the last good one: whoever repairs it must start with the first."""
    if first is None or second is None:
        return first or second
    return Failure(
        first.cause, f"{first.message} Then the last good revision did not start either: {second.message}"
    )


def _scale(at: Situation) -> Endpoint:
    endpoint, scaling = at.endpoint, at.endpoint.spec.scaling
    if endpoint.state is State.RUNNING:
        wanted = desired_replicas(
            scaling, current=endpoint.replicas, load=at.load, scaled_at=endpoint.scaled_at, now=at.now
        )
        return (
            endpoint if wanted == endpoint.replicas else replace(endpoint, replicas=wanted, scaled_at=at.now)
        )
    if endpoint.state in _STARTING or endpoint.state is State.UPDATE_FAILED:
        low, high = max(1, scaling.min_replica), max(1, scaling.max_replica)
        return replace(endpoint, replicas=min(max(endpoint.replicas, low), high))
    return endpoint


def _wanted(at: Situation) -> dict[str, tuple[Revision, int]]:
    """Every replica set that should exist, and its size. Whatever is not here should not exist.

    While one revision takes over from another (surge 1), the old one keeps what the new one does not carry yet, and
    the new one grows by one beyond that.
    """
    endpoint, fallback, n = at.endpoint, at.fallback, at.endpoint.replicas
    sizes: list[tuple[Revision, int]] = []
    if endpoint.state is State.RUNNING:
        sizes = [(endpoint.target, n)]
    elif endpoint.state is State.UPDATE_FAILED and fallback is not None:
        sizes = [(fallback, n)]
    elif endpoint.state in _STARTING:
        kept = 0 if fallback is None else max(0, n - at.ready)
        if endpoint.target.source is not None:
            sizes = [(endpoint.target, n if fallback is None else min(n, n + 1 - kept))]
        if fallback is not None and kept > 0:
            sizes.append((fallback, kept))
    return {replica_set_id(endpoint, revision): (revision, size) for revision, size in sizes}


def _remember(at: Situation, wanted: Mapping[str, tuple[Revision, int]]) -> Endpoint:
    ready = sum(len(s.ready) for s in at.seen.sets if s.id in wanted)
    used, last = at.endpoint.last_used_at, at.load.last_request_at
    if last is not None and last > (used or 0.0) + LAST_USED_RESOLUTION_S:
        used = last
    note = (at.seen.note or at.hindered) if at.endpoint.state in _STARTING else None
    return replace(at.endpoint, ready=ready, last_used_at=used, note=note)


def _actions(at: Situation, wanted: Mapping[str, tuple[Revision, int]]) -> tuple[Action, ...]:
    actions: list[Action] = []
    if at.endpoint.state in _STARTING and at.endpoint.target.source is None:
        actions.append(LookUp(at.endpoint.target))
    there = {s.id: s for s in at.seen.sets}
    for set_id, (revision, n) in wanted.items():
        if set_id not in there or there[set_id].n != n:
            actions.append(Apply(revision, n))
    leaving = [s for s in at.seen.sets if s.id not in wanted and not _on_its_way(s)]
    return (*actions, *(Remove(s.id, at.policy.grace) for s in leaving))


def _on_its_way(found: SeenReplicaSet) -> bool:
    """Whether it was told to go and is going; an empty one that is still there is told again."""
    return (
        found.n == 0
        and bool(found.replicas)
        and all(r.phase in (Phase.TERMINATING, Phase.STOPPED) for r in found.replicas)
    )


def _look_again_at(at: Situation) -> float | None:
    """The next moment at which time alone makes a difference."""
    endpoint, moments = at.endpoint, list[float]()
    if endpoint.state in _STARTING:
        moments.append(endpoint.starting_since + at.policy.startup_timeout)
    if (endpoint.state, Fact.IDLE) in NEXT and (deadline := at.idle_deadline()) is not None:
        moments.append(deadline)
    if endpoint.state is State.RUNNING and endpoint.spec.scaling.max_replica > 1:
        moments.append(at.now + AUTOSCALE_INTERVAL_S)
    # A moment that has passed without effect (a request is in flight at the idle deadline) is asked again soon.
    return max(min(moments), at.now + 1.0) if moments else None
