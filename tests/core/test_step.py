"""The step by single histories: what a person would check by hand. The simulator checks everything at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    return SeenReplicaSet(f"e-r{revision}", "e", revision, count, tuple(replicas), **more)


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


def test_replicas_that_were_ready_and_keep_ending_are_no_reason_to_give_up() -> None:
    crashed = {"ends": 50, "last_exit": Exit(ExitKind.OUT_OF_MEMORY, "Out of memory")}
    lost = step(running(), Seen((seen(1, starting=1, **crashed),)), Load(), NOW, POLICY).endpoint
    assert lost.state is State.INITIALIZING
    between = step(lost, Seen((seen(1, n=1, **crashed),)), Load(), NOW, POLICY).endpoint
    assert between.state is State.INITIALIZING
    assert (
        step(lost, Seen((seen(1, ready=1, **crashed),)), Load(), NOW, POLICY).endpoint.state is State.RUNNING
    )


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


# -- a clock that is set


def test_a_clock_that_is_set_ahead_makes_nothing_idle_or_overdue() -> None:
    asleep_at = running(low=0, high=1)
    timeout = asleep_at.spec.scaling.idle_timeout
    assert timeout is not None
    one = seen(1, ready=1)
    day = 86_400.0
    outcome = step(asleep_at, Seen((one,), jumped=day), Load(), NOW + day + timeout - 1, POLICY)
    assert outcome.endpoint.state is State.RUNNING, "a second short of the timeout, but for the jump"
    assert outcome.look_again_at == NOW + day + timeout
    assert step(outcome.endpoint, Seen((one,)), Load(), NOW + day + timeout, POLICY).endpoint.state is (
        State.SCALED_TO_ZERO
    )
    starting = created()
    for jumped, state in ((day, State.INITIALIZING), (0.0, State.FAILED)):
        outcome = step(starting, Seen((seen(1, starting=1),), jumped=jumped), Load(), NOW + day, POLICY)
        assert outcome.endpoint.state is state


def test_a_clock_that_is_set_back_lets_a_sleeper_wake_and_every_wait_end() -> None:
    sleeping = intents.scale_to_zero(running(low=0), person=PERSON, now=NOW)
    past = NOW - 86_400.0
    woken = step(sleeping, Seen(), Load(waiting=1, waiting_at=past + 1), past + 1, POLICY)
    assert woken.endpoint.since <= past + 1
    again = step(woken.endpoint, Seen(), Load(waiting=1, waiting_at=past + 2), past + 2, POLICY)
    assert again.endpoint.state is State.PENDING
    idle = running(low=0, high=1)
    timeout = idle.spec.scaling.idle_timeout
    assert timeout is not None
    first = step(idle, Seen((seen(1, ready=1),)), Load(), past, POLICY).endpoint
    last = step(first, Seen((seen(1, ready=1),)), Load(), past + timeout, POLICY).endpoint
    assert (first.state, last.state) == (State.RUNNING, State.SCALED_TO_ZERO)


def moments(endpoint: Endpoint) -> dict[str, float | None]:
    names = ("since", "starting_since", "ready_since", "last_used_at", "scaled_at")
    return {name: getattr(endpoint, name) for name in names}


@given(
    ages=st.lists(st.floats(0, 1e7), min_size=5, max_size=5),
    jump=st.floats(-1e8, 1e8),
    passed=st.floats(0, 60),
    ready=st.booleans(),
)
def test_a_jump_shortens_no_wait_and_lengthens_it_at_most_once(
    ages: list[float], jump: float, passed: float, ready: bool
) -> None:
    """However the clock is set: what was measured goes on as it was, or begins again; no time lies in the future."""
    endpoint = running(low=0, high=1)
    endpoint = replace(
        endpoint, **{name: NOW - age for name, age in zip(moments(endpoint), ages, strict=True)}
    )
    now = NOW + passed + jump
    observed = Seen((seen(1, ready=1 if ready else 0, starting=0 if ready else 1),), jumped=max(0.0, jump))
    after = step(endpoint, observed, Load(in_flight=1), now, POLICY).endpoint
    for (name, at), age in zip(moments(after).items(), ages, strict=True):
        if at is not None:
            assert at <= now, name
            assert now - at <= passed + age + 1e-3, f"{name} looks older than it is"
