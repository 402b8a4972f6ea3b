"""The step by single histories: what a person would check by hand. The simulator checks everything at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inlet.core import intents
from inlet.core.autoscale import Load
from inlet.core.endpoint import Cause, Endpoint, Failure, Person, Source, State
from inlet.core.errors import WrongState
from inlet.core.facts import Policy, Seen
from inlet.core.lifecycle import TABLE, Intent
from inlet.core.seen import Exit, ExitKind, Phase, SeenReplica, SeenReplicaSet
from inlet.core.step import Apply, LookUp, Remove, step

from .simulator import make_spec

NOW = 1_000_000.0
POLICY = Policy(startup_timeout=600.0, max_failed_starts=3, grace=30.0)
PERSON = Person("0" * 24, "somebody")
SOURCE = Source("good-1", local=False, commit="c" * 40, task="text-classification")


def created(low: int = 1, high: int = 3) -> Endpoint:
    spec = make_spec("good-1", low, high)
    endpoint = intents.create(spec, id="e", namespace="default", name="e", person=PERSON, now=NOW)
    return replace(endpoint, target=replace(endpoint.target, source=SOURCE))


def running(low: int = 1, high: int = 3) -> Endpoint:
    endpoint = replace(created(low, high), replicas=max(1, low))
    return step(endpoint, Seen((seen(1, ready=max(1, low)),)), Load(), NOW, POLICY).endpoint


def seen(
    revision: int, *, ready: int = 0, starting: int = 0, n: int | None = None, **more: object
) -> SeenReplicaSet:
    replicas = [SeenReplica(f"r{revision}-{i}", Phase.RUNNING, f"unix:/{i}") for i in range(ready)]
    replicas += [
        SeenReplica(f"r{revision}-s{i}", Phase.INITIALIZING, detail="loading") for i in range(starting)
    ]
    count = ready + starting if n is None else n
    return SeenReplicaSet(f"e-r{revision}", "e", revision, count, tuple(replicas), **more)  # type: ignore[arg-type]


def changed(endpoint: Endpoint, model: str = "good-2") -> Endpoint:
    scaling = endpoint.spec.scaling
    spec = make_spec(model, scaling.min_replica, scaling.max_replica)
    updated = intents.update(endpoint, spec, person=PERSON, now=NOW)
    return replace(updated, target=replace(updated.target, source=SOURCE))


def test_a_new_endpoint_is_looked_up_before_anything_is_started() -> None:
    endpoint = replace(created(), target=replace(created().target, source=None))
    outcome = step(endpoint, Seen(), Load(), NOW, POLICY)
    assert outcome.actions == (LookUp(endpoint.target),)
    found = step(endpoint, Seen(lookup=SOURCE), Load(), NOW, POLICY)
    assert found.endpoint.target.source == SOURCE
    assert found.actions == (Apply(found.endpoint.target, 1),)


@pytest.mark.parametrize("strength", [1, 2, 3])
def test_a_rolling_update_never_has_fewer_ready_than_wanted_nor_more_than_one_extra(strength: int) -> None:
    endpoint = changed(running(strength, strength))
    assert endpoint.state is State.UPDATING
    old, new = strength, 0
    for _ in range(20):
        sets = [seen(1, ready=old)] if old else []
        if new:
            sets.append(seen(2, ready=new))
        outcome = step(endpoint, Seen(tuple(sets)), Load(), NOW, POLICY)
        endpoint = outcome.endpoint
        for action in outcome.actions:
            if isinstance(action, Apply):
                old, new = (action.n, new) if action.revision.number == 1 else (old, action.n)
            elif isinstance(action, Remove):
                old = 0
        assert strength <= old + new <= strength + 1
        if not outcome.actions:
            break
    assert (endpoint.state, old, new) == (State.RUNNING, 0, strength)


def test_an_update_that_cannot_start_leaves_the_old_revision_at_full_strength() -> None:
    endpoint = changed(running(2, 2))
    broken = seen(2, starting=1, failed_starts=3, last_exit=Exit(ExitKind.CRASHED, "ValueError: boom", 1))
    outcome = step(endpoint, Seen((seen(1, ready=2), broken)), Load(), NOW, POLICY)
    assert outcome.endpoint.state is State.UPDATE_FAILED
    assert outcome.endpoint.failure == Failure(
        Cause.RUNTIME, "Gave up after 3 failed starts. ValueError: boom"
    )
    assert outcome.actions == (Remove("e-r2", 30.0),)
    assert outcome.routed == ("e-r1",)


def test_a_failure_names_its_reason_and_who_can_mend_it() -> None:
    config = seen(1, starting=0, n=1, last_exit=Exit(ExitKind.CONFIGURATION, "no config.json", 78))
    failed = step(created(), Seen((config,)), Load(), NOW, POLICY).endpoint
    assert (failed.state, failed.failure) == (
        State.FAILED,
        Failure(Cause.CONFIGURATION, "no config.json"),
    )
    with pytest.raises(WrongState, match="must be updated"):
        intents.resume(failed, person=PERSON, now=NOW)
    late = step(created(), Seen((seen(1, starting=1),)), Load(), NOW + 600, POLICY).endpoint
    assert late.failure is not None
    assert "Not ready within 600 s; last seen: initializing loading" in late.failure.message
    again = intents.resume(late, person=PERSON, now=NOW + 601)
    assert (again.state, again.target.number) == (State.PENDING, 2)


def test_the_idle_clock_starts_at_readiness_and_waits_for_requests_in_flight() -> None:
    endpoint = running(0, 1)
    assert endpoint.state is State.RUNNING
    at = NOW + 15 * 60
    world = Seen((seen(1, ready=1),))
    assert step(endpoint, world, Load(), at - 1, POLICY).endpoint.state is State.RUNNING
    assert step(endpoint, world, Load(), at - 1, POLICY).look_again_at == at
    assert step(endpoint, world, Load(in_flight=1), at, POLICY).endpoint.state is State.RUNNING
    used = Load(last_request_at=NOW + 60)
    assert step(endpoint, world, used, at, POLICY).endpoint.state is State.RUNNING
    asleep = step(endpoint, world, Load(), at, POLICY)
    assert asleep.endpoint.state is State.SCALED_TO_ZERO
    assert asleep.actions == (Remove("e-r1", 30.0),)
    assert asleep.routed == ()
    awake = step(asleep.endpoint, Seen(), Load(waiting=1), at, POLICY)
    assert awake.endpoint.state is State.PENDING
    assert awake.actions == (Apply(awake.endpoint.target, 1),)


def test_losing_every_replica_is_not_an_update_and_keeps_the_revision() -> None:
    lost = step(running(), Seen(), Load(), NOW + 5, POLICY)
    assert lost.endpoint.state is State.INITIALIZING
    assert lost.actions == (Apply(lost.endpoint.target, 1),)


def test_an_update_of_bounds_changes_no_revision_and_no_state() -> None:
    endpoint = running(1, 1)
    spec = make_spec("good-1", 2, 3)
    after = intents.update(endpoint, spec, person=PERSON, now=NOW)
    assert (after.state, after.target.number) == (State.RUNNING, 1)
    outcome = step(after, Seen((seen(1, ready=1),)), Load(), NOW, POLICY)
    assert outcome.actions == (Apply(after.target, 2),)


@pytest.mark.parametrize("state", list(State))
def test_an_intent_without_a_row_is_refused_with_the_state_in_words(state: State) -> None:
    endpoint = replace(running(0, 1), state=state, failure=None)
    rows = {row.event for row in TABLE if row.state is state}
    calls = {
        Intent.PAUSE: intents.pause,
        Intent.RESUME: intents.resume,
        Intent.SCALE_TO_ZERO: intents.scale_to_zero,
        Intent.DELETE: intents.delete,
    }
    for intent, call in calls.items():
        if intent in rows:
            assert call(endpoint, person=PERSON, now=NOW).updated_by == PERSON
        else:
            words = "already running" if intent is Intent.RESUME else str(state)
            with pytest.raises(WrongState, match=words):
                call(endpoint, person=PERSON, now=NOW)


def test_scale_to_zero_needs_a_minimum_of_zero() -> None:
    with pytest.raises(WrongState, match="minReplica"):
        intents.scale_to_zero(running(1, 1), person=PERSON, now=NOW)
