"""What people do to an endpoint: record in, record out, or `WrongState` when the table has no row for it.

Called by `control/commands.py` inside a guarded commit. Nothing here touches a platform: an intent is only written
down, and the control loop makes it true.
"""

from __future__ import annotations

from dataclasses import replace

from inlet.core.endpoint import Cause, Endpoint, Person, Revision, State
from inlet.core.errors import WrongState
from inlet.core.lifecycle import NEXT, Intent
from inlet.core.spec import Spec


def create(spec: Spec, *, id: str, namespace: str, name: str, person: Person, now: float) -> Endpoint:  # noqa: A002
    """A new endpoint, waiting to be scheduled, with the first revision of its workload."""
    return Endpoint(
        id=id,
        namespace=namespace,
        name=name,
        spec=spec,
        state=State.PENDING,
        version=0,
        target=Revision(number=1, workload=spec.workload, created_at=now),
        serving=None,
        replicas=first_replicas(spec),
        ready=0,
        failure=None,
        deployed=False,
        since=now,
        starting_since=now,
        ready_since=None,
        last_used_at=None,
        created_at=now,
        created_by=person,
        updated_at=now,
        updated_by=person,
    )


def update(endpoint: Endpoint, spec: Spec, *, person: Person, now: float) -> Endpoint:
    """Take over `spec`; a changed workload makes a new revision, anything else takes effect without one."""
    changed = replace(endpoint, spec=spec, updated_at=now, updated_by=person)
    if spec.workload == endpoint.target.workload:
        return changed
    revision = Revision(number=endpoint.target.number + 1, workload=spec.workload, created_at=now)
    return _enter(replace(changed, target=revision), Intent.UPDATE, now)


def pause(endpoint: Endpoint, *, person: Person, now: float) -> Endpoint:
    """Stop all replicas and stay stopped."""
    return _by(_enter(endpoint, Intent.PAUSE, now), person, now)


def resume(endpoint: Endpoint, *, person: Person, now: float) -> Endpoint:
    """Start again. A failure that only a change can mend is refused.

    A second try after a failure is a revision of its own, so that nothing left of the first can be mistaken for it.
    """
    if endpoint.state is State.FAILED:
        if endpoint.failure is not None and endpoint.failure.cause is Cause.CONFIGURATION:
            raise WrongState(
                "Endpoint failed because of its configuration and must be updated, not resumed "
                "(or, if the cause was mended elsewhere, paused and then resumed): "
                + endpoint.failure.message
            )
        retry = replace(endpoint.target, number=endpoint.target.number + 1, created_at=now)
        endpoint = replace(endpoint, target=retry)
    return _by(_enter(endpoint, Intent.RESUME, now), person, now)


def scale_to_zero(endpoint: Endpoint, *, person: Person, now: float) -> Endpoint:
    """Fall asleep now rather than after the timeout."""
    if endpoint.spec.scaling.idle_timeout is None:
        raise WrongState(
            "Endpoint cannot be scaled to zero: set compute.scaling.minReplica to 0 first, "
            "and compute.scaling.scaleToZeroTimeout if 15 minutes do not suit"
        )
    return _by(_enter(endpoint, Intent.SCALE_TO_ZERO, now), person, now)


def delete(endpoint: Endpoint, *, person: Person, now: float) -> Endpoint:
    """Stop everything and forget it."""
    return _by(_enter(endpoint, Intent.DELETE, now), person, now)


def first_replicas(spec: Spec) -> int:
    """How many replicas an endpoint starts with."""
    return max(1, spec.scaling.min_replica)


def _by(endpoint: Endpoint, person: Person, now: float) -> Endpoint:
    return replace(endpoint, updated_at=now, updated_by=person)


def _enter(endpoint: Endpoint, intent: Intent, now: float) -> Endpoint:
    state = NEXT.get((endpoint.state, intent))
    if state is None:
        if intent is Intent.RESUME:
            raise WrongState(f"Endpoint is already running (state {endpoint.state})")
        raise WrongState(f"Endpoint is {endpoint.state}: {intent} is not possible from there")
    return enter(endpoint, state, now)


def enter(endpoint: Endpoint, state: State, now: float) -> Endpoint:
    """Put the record into `state` with the bookkeeping that every way into that state shares."""
    changed = replace(endpoint, state=state, since=endpoint.since if state is endpoint.state else now)
    match state:
        case State.PENDING | State.UPDATING:
            return replace(
                changed,
                failure=None,
                starting_since=now,
                replicas=max(first_replicas(endpoint.spec), endpoint.replicas),
            )
        case State.INITIALIZING:
            return replace(changed, ready_since=None)
        case State.RUNNING:
            return replace(changed, serving=endpoint.target, failure=None, deployed=True, ready_since=now)
        case State.PAUSED | State.SCALED_TO_ZERO | State.DELETING:
            return replace(changed, replicas=0, ready=0, ready_since=None)
        case State.FAILED:
            return replace(changed, serving=None, ready=0, ready_since=None)
        case _:
            return changed
