"""The middle of the control loop: what was seen in, what to do out. One pure function and its parts.

`control/reconciler.py` observes, calls `step`, commits the record, then carries out the actions. Level-triggered: every
step says again all that is still to be done, so an action that was lost is simply issued again. Nothing here knows what
a platform, a database or a clock is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from inlet.core.autoscale import AUTOSCALE_INTERVAL_S, Load, desired_replicas
from inlet.core.endpoint import Cause, Endpoint, Failure, Revision, Source, State, replica_set_id
from inlet.core.intents import enter
from inlet.core.lifecycle import NEXT, Fact
from inlet.core.seen import ExitKind, Phase, SeenReplicaSet

LAST_USED_RESOLUTION_S = 30.0
"""How far the stored `last_used_at` may lag: it is not worth a write per request."""

_STARTING = (State.PENDING, State.INITIALIZING, State.UPDATING)


@dataclass(frozen=True, slots=True)
class Policy:
    """What is decided once for an installation."""

    startup_timeout: float = 1800.0  # seconds until a revision that never became ready has failed
    max_failed_starts: int = 5  # in a row
    grace: float = 30.0  # seconds that a leaving replica may take to finish its requests


@dataclass(frozen=True, slots=True)
class Seen:
    """One endpoint's share of a complete observation, and what the loop itself learned on the way.

    `lookup` is the answer about the target's model, once there is one; `refused` maps replica sets to the reason why
    the platform will not run them; `note` says what a call that will be tried again failed of.
    """

    sets: tuple[SeenReplicaSet, ...] = ()
    lookup: Source | Failure | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None


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
    endpoint = _learn(endpoint, seen)
    facts: list[Fact] = []
    while (fact := _next_fact(endpoint, seen, load, now, policy)) is not None:
        facts.append(fact)
        endpoint = _take(endpoint, fact, seen, now, policy)
    endpoint = _scale(endpoint, load, now)
    wanted = _wanted(endpoint, seen)
    endpoint = _remember(endpoint, seen, load, wanted)
    return Outcome(
        endpoint=endpoint,
        actions=_actions(endpoint, seen, wanted, policy),
        routed=tuple(wanted),
        look_again_at=_look_again_at(endpoint, load, now, policy),
        facts=tuple(facts),
    )


def _learn(endpoint: Endpoint, seen: Seen) -> Endpoint:
    if endpoint.target.source is None and isinstance(seen.lookup, Source):
        return replace(endpoint, target=replace(endpoint.target, source=seen.lookup))
    return endpoint


# Facts


def _next_fact(endpoint: Endpoint, seen: Seen, load: Load, now: float, policy: Policy) -> Fact | None:
    """The first fact that holds and has a row in this state."""
    for fact in Fact:
        if (endpoint.state, fact) in NEXT and _holds(fact, endpoint, seen, load, now, policy):
            return fact
    return None


def _holds(fact: Fact, endpoint: Endpoint, seen: Seen, load: Load, now: float, policy: Policy) -> bool:
    match fact:
        case Fact.EMPTIED:
            return not seen.sets
        case Fact.FELL_BACK:
            broken = _broken(endpoint, seen, now, policy) is not None
            return broken and _can_fall_back(endpoint, seen, policy)
        case Fact.GAVE_UP:
            broken = _broken(endpoint, seen, now, policy) is not None
            return broken and not _can_fall_back(endpoint, seen, policy)
        case Fact.SCHEDULED:
            return _scheduled(endpoint, seen)
        case Fact.READY:
            return _ready(endpoint, endpoint.target, seen) >= _needed(endpoint)
        case Fact.LOST:
            return _ready(endpoint, endpoint.target, seen) == 0
        case Fact.DEMAND:
            return load.waiting > 0 or endpoint.spec.scaling.min_replica > 0
        case Fact.IDLE:
            return _idle(endpoint, load, now)


def _take(endpoint: Endpoint, fact: Fact, seen: Seen, now: float, policy: Policy) -> Endpoint:
    failure = _broken(endpoint, seen, now, policy) if fact in (Fact.FELL_BACK, Fact.GAVE_UP) else None
    changed = enter(endpoint, NEXT[endpoint.state, fact], now)
    if fact is Fact.LOST:
        return replace(changed, starting_since=now)
    if fact is Fact.FELL_BACK:
        # The idle clock of the last good revision goes on from here if it was not running before.
        return replace(changed, failure=failure, ready_since=endpoint.ready_since or now)
    if fact is Fact.GAVE_UP:
        return replace(changed, failure=_both(endpoint.failure, failure))
    return changed


def _both(first: Failure | None, second: Failure | None) -> Failure | None:
    """Why the newest revision failed, and then the last good one: whoever repairs it must start with the first."""
    if first is None or second is None:
        return first or second
    return Failure(
        first.cause, f"{first.message} Then the last good revision did not start either: {second.message}"
    )


def _set_of(endpoint: Endpoint, revision: Revision, seen: Seen) -> SeenReplicaSet | None:
    wanted = replica_set_id(endpoint, revision)
    return next((s for s in seen.sets if s.id == wanted), None)


def _ready(endpoint: Endpoint, revision: Revision, seen: Seen) -> int:
    found = _set_of(endpoint, revision, seen)
    return 0 if found is None else len(found.ready)


def _fallback(endpoint: Endpoint) -> Revision | None:
    """The last good revision, if it is another than the target."""
    serving = endpoint.serving
    return None if serving is None or serving.number == endpoint.target.number else serving


def _needed(endpoint: Endpoint) -> int:
    """Ready replicas with which the target carries the endpoint: one, or full strength where another steps back."""
    return 1 if _fallback(endpoint) is None else max(1, endpoint.replicas)


def _scheduled(endpoint: Endpoint, seen: Seen) -> bool:
    found = _set_of(endpoint, endpoint.target, seen)
    return found is not None and any(
        r.phase not in (Phase.TERMINATING, Phase.STOPPED) for r in found.replicas
    )


def _idle(endpoint: Endpoint, load: Load, now: float) -> bool:
    deadline = _idle_deadline(endpoint, load)
    return deadline is not None and now >= deadline and load.in_flight == 0 and load.waiting == 0


def _idle_deadline(endpoint: Endpoint, load: Load) -> float | None:
    timeout = endpoint.spec.scaling.idle_timeout
    if timeout is None or endpoint.ready_since is None:
        return None
    return max(endpoint.ready_since, endpoint.last_used_at or 0.0, load.last_request_at or 0.0) + timeout


def _broken(endpoint: Endpoint, seen: Seen, now: float, policy: Policy) -> Failure | None:
    """Why the revision that should come up does not, if it is time to stop trying."""
    if endpoint.state is State.UPDATE_FAILED:
        fallback = _fallback(endpoint)
        return None if fallback is None else _exhausted(endpoint, fallback, seen, policy)
    if _ready(endpoint, endpoint.target, seen) >= _needed(endpoint):
        return None
    if endpoint.target.source is None and isinstance(seen.lookup, Failure):
        return seen.lookup
    return _exhausted(endpoint, endpoint.target, seen, policy) or _overdue(endpoint, seen, now, policy)


def _can_fall_back(endpoint: Endpoint, seen: Seen, policy: Policy) -> bool:
    fallback = _fallback(endpoint)
    return (
        endpoint.state is not State.UPDATE_FAILED
        and fallback is not None
        and _exhausted(endpoint, fallback, seen, policy) is None
    )


def _exhausted(endpoint: Endpoint, revision: Revision, seen: Seen, policy: Policy) -> Failure | None:
    """Why the platform will not get this revision up, however long we wait."""
    reason = seen.refused.get(replica_set_id(endpoint, revision))
    if reason is not None:
        return Failure(Cause.CONFIGURATION, reason)
    found = _set_of(endpoint, revision, seen)
    if found is None or found.n == 0 or found.last_exit is None:
        return None
    if found.last_exit.kind is ExitKind.CONFIGURATION and not found.ready:
        return Failure(Cause.CONFIGURATION, found.last_exit.message)
    if found.failed_starts >= policy.max_failed_starts:
        return Failure(
            Cause.RUNTIME, f"Gave up after {found.failed_starts} failed starts. {found.last_exit.message}"
        )
    return None


def _overdue(endpoint: Endpoint, seen: Seen, now: float, policy: Policy) -> Failure | None:
    if now - endpoint.starting_since < policy.startup_timeout:
        return None
    found = _set_of(endpoint, endpoint.target, seen)
    replicas = () if found is None else found.replicas
    if endpoint.target.source is None:
        return Failure(
            Cause.RUNTIME,
            f"Not ready within {policy.startup_timeout:.0f} s; "
            + (seen.note or "nothing could be learned about the model"),
        )
    last = f"; last seen: {replicas[-1].phase} {replicas[-1].detail}".rstrip() if replicas else ""
    return Failure(Cause.RUNTIME, f"Not ready within {policy.startup_timeout:.0f} s{last}")


# Numbers


def _scale(endpoint: Endpoint, load: Load, now: float) -> Endpoint:
    low, high = max(1, endpoint.spec.scaling.min_replica), max(1, endpoint.spec.scaling.max_replica)
    if endpoint.state is State.RUNNING:
        wanted = desired_replicas(
            endpoint.spec.scaling, current=endpoint.replicas, load=load, scaled_at=endpoint.scaled_at, now=now
        )
        return endpoint if wanted == endpoint.replicas else replace(endpoint, replicas=wanted, scaled_at=now)
    if endpoint.state in _STARTING or endpoint.state is State.UPDATE_FAILED:
        return replace(endpoint, replicas=min(max(endpoint.replicas, low), high))
    return endpoint


def _wanted(endpoint: Endpoint, seen: Seen) -> dict[str, tuple[Revision, int]]:
    """Every replica set that should exist, and its size. Whatever is not here should not exist.

    While one revision takes over from another (surge 1), the old one keeps what the new one does not carry yet, and
    the new one grows by one beyond that.
    """
    fallback, n = _fallback(endpoint), endpoint.replicas
    sizes: list[tuple[Revision, int]] = []
    if endpoint.state is State.RUNNING:
        sizes = [(endpoint.target, n)]
    elif endpoint.state is State.UPDATE_FAILED and fallback is not None:
        sizes = [(fallback, n)]
    elif endpoint.state in _STARTING:
        kept = 0 if fallback is None else max(0, n - _ready(endpoint, endpoint.target, seen))
        if endpoint.target.source is not None:
            sizes = [(endpoint.target, n if fallback is None else min(n, n + 1 - kept))]
        if fallback is not None and kept > 0:
            sizes.append((fallback, kept))
    return {replica_set_id(endpoint, revision): (revision, size) for revision, size in sizes}


def _remember(
    endpoint: Endpoint, seen: Seen, load: Load, wanted: Mapping[str, tuple[Revision, int]]
) -> Endpoint:
    ready = sum(len(s.ready) for s in seen.sets if s.id in wanted)
    used = endpoint.last_used_at
    if load.last_request_at is not None and load.last_request_at > (used or 0.0) + LAST_USED_RESOLUTION_S:
        used = load.last_request_at
    note = seen.note if endpoint.state in _STARTING else None
    return replace(endpoint, ready=ready, last_used_at=used, note=note)


def _actions(
    endpoint: Endpoint, seen: Seen, wanted: Mapping[str, tuple[Revision, int]], policy: Policy
) -> tuple[Action, ...]:
    actions: list[Action] = []
    if endpoint.state in _STARTING and endpoint.target.source is None:
        actions.append(LookUp(endpoint.target))
    there = {s.id: s for s in seen.sets}
    for set_id, (revision, n) in wanted.items():
        if set_id not in there or there[set_id].n != n:
            actions.append(Apply(revision, n))
    actions += [Remove(s.id, policy.grace) for s in seen.sets if s.id not in wanted and not _leaving(s)]
    return tuple(actions)


def _leaving(found: SeenReplicaSet) -> bool:
    """Whether it was told to go and is on its way; an empty one that is still there is told again."""
    return (
        found.n == 0
        and bool(found.replicas)
        and all(r.phase in (Phase.TERMINATING, Phase.STOPPED) for r in found.replicas)
    )


def _look_again_at(endpoint: Endpoint, load: Load, now: float, policy: Policy) -> float | None:
    """The next moment at which time alone makes a difference."""
    moments: list[float] = []
    if endpoint.state in _STARTING:
        moments.append(endpoint.starting_since + policy.startup_timeout)
    if (endpoint.state, Fact.IDLE) in NEXT and (deadline := _idle_deadline(endpoint, load)) is not None:
        moments.append(deadline)
    if endpoint.state is State.RUNNING and endpoint.spec.scaling.max_replica > 1:
        moments.append(now + AUTOSCALE_INTERVAL_S)
    # A moment that has passed without effect (a request is in flight at the idle deadline) is asked again soon.
    return max(min(moments), now + 1.0) if moments else None
