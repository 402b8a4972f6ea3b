"""Endpoints as the API shows them: the document as sent, completed with what the server knows.

Called by `control/endpoints.py`. Nothing here is secret: secrets and registry passwords were taken out of the
document before it was stored, and come out as null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from inlet.core.catalogue import HOURS_PER_MONTH, Instance
from inlet.core.endpoint import Endpoint, Person, State
from inlet.core.seen import Limits, Phase, SeenReplica
from inlet.wire.v2.documents import HEALTH_ROUTE
from inlet.wire.v2.parse import DEFAULT_IMAGE

_DEFAULTED = frozenset({"image", "env", "secrets"})  # never null in an answer

_MESSAGES: dict[State, str] = {
    State.PENDING: "Endpoint waiting to be scheduled",
    State.INITIALIZING: "Endpoint is starting",
    State.RUNNING: "Endpoint is ready",
    State.UPDATING: "Endpoint waiting for the update",
    State.UPDATE_FAILED: "Endpoint failed to update; the last good revision serves",
    State.PAUSED: "Endpoint is paused; resume it to start it again",
    State.SCALED_TO_ZERO: "Endpoint is scaled to zero; a request wakes it",
    State.FAILED: "Endpoint failed to start",
    State.DELETING: "Endpoint is being deleted",
    State.GONE: "Endpoint is deleted",
}


@dataclass(frozen=True, slots=True)
class Sight:
    """What an observation adds to a record: progress in words, whether replicas keep ending, and how limits are kept."""

    detail: str = ""
    unrest: str = ""
    limits: Limits | None = None


def render_endpoint(
    endpoint: Endpoint, *, url: str, instance: Instance | None, sight: Sight | None = None
) -> dict[str, Any]:
    """The endpoint object; `url` is where it is reached (shown once it was ready), `instance` its catalogue row."""
    sent = endpoint.spec.extras
    workload = endpoint.spec.workload
    model = {
        "revision": None,
        "task": None,
        "image": {DEFAULT_IMAGE: {}},
        "env": {},
        "secrets": {},
        **{key: value for key, value in sent["model"].items() if value is not None or key not in _DEFAULTED},
    }
    source = endpoint.target.source
    if model["revision"] is None and source is not None:
        model["revision"] = source.commit
    return {
        "name": endpoint.name,
        "accountId": None,
        **sent,
        "compute": {"id": None if instance is None else instance.id, **sent["compute"]},
        "model": model,
        "tags": sent.get("tags") or [],
        "experimentalFeatures": sent.get("experimentalFeatures") or {},
        "notifications": sent.get("notifications") or {},
        "healthRoute": health_route(workload.model.image.settings),
        "status": _status(endpoint, url, sight or Sight()),
        "inlet": {
            "endpointId": endpoint.id,
            "revision": endpoint.target.number,
            "servingRevision": None if endpoint.serving is None else endpoint.serving.number,
            "commit": None if source is None else source.commit,
            "task": workload.model.task if source is None else source.task,
            "limits": None if sight is None or sight.limits is None else _limits(sight.limits),
            **_price(endpoint, instance),
        },
    }


def health_route(settings: Mapping[str, Any]) -> str:
    """Where an image with these settings answers whether it is ready."""
    return settings.get("healthRoute") or settings.get("health_route") or HEALTH_ROUTE


def _limits(limits: Limits) -> dict[str, Any]:
    return {
        "cpu": {"vcpus": limits.vcpus, "hold": limits.cpu_hold.word, "by": limits.cpu_hold.by},
        "memory": {"bytes": limits.memory, "hold": limits.memory_hold.word, "by": limits.memory_hold.by},
        "whole": limits.whole,
        "text": limits.words,
    }


def _status(endpoint: Endpoint, url: str, sight: Sight) -> dict[str, Any]:
    message = _MESSAGES[endpoint.state]
    if endpoint.note:
        message = f"{message}; trying again: {endpoint.note}"
    if sight.detail and endpoint.state in (State.PENDING, State.INITIALIZING, State.UPDATING):
        message = f"{message}: {sight.detail}"
    if sight.unrest:
        message = f"{message}; {sight.unrest}"
    stopped = endpoint.state in (State.PAUSED, State.SCALED_TO_ZERO)
    used = max((at for at in (endpoint.last_used_at, endpoint.ready_since) if at is not None), default=None)
    status: dict[str, Any] = {
        "createdAt": timestamp(endpoint.created_at),
        "createdBy": _person(endpoint.created_by),
        "updatedAt": timestamp(endpoint.updated_at),
        "updatedBy": _person(endpoint.updated_by),
        "private": None,
        "state": endpoint.state.value,
        "message": message,
        "url": url if endpoint.deployed else None,
        "readyReplica": 0 if stopped else endpoint.ready,
        "targetReplica": 0 if stopped else endpoint.replicas,
        "lastUsedAt": None if used is None else timestamp(used),
        "inferenceMetricsEnabled": False,
    }
    if endpoint.failure is not None:
        status["errorMessage"] = endpoint.failure.message
    return status


def _price(endpoint: Endpoint, instance: Instance | None) -> dict[str, float | None]:
    """USD: one replica for an hour; and a month of all replicas, and of the fewest (zero when it may sleep)."""
    if instance is None:
        return {"pricePerHour": None, "monthlyCost": None, "monthlyCostMinimum": None}
    month = instance.price_per_hour * HOURS_PER_MONTH
    scaling = endpoint.spec.scaling
    return {
        "pricePerHour": instance.price_per_hour,
        "monthlyCost": round(month * scaling.max_replica, 2),
        "monthlyCostMinimum": round(month * scaling.min_replica, 2),
    }


def render_replica(replica: SeenReplica, revision: int, *, updating: bool) -> dict[str, Any]:
    """One replica; `versionId` is its revision, `updating` whether it belongs to a revision on its way in."""
    status: dict[str, Any] = {
        "stage": replica.phase.value,
        "live": replica.phase is Phase.RUNNING,
        "updating": updating,
    }
    if replica.exit is not None and replica.exit.code is not None:
        status["exitCode"] = replica.exit.code
    if replica.started_at is not None:
        status["startedAt"] = timestamp(replica.started_at)
    if replica.stopped_at is not None:
        status["stoppedAt"] = timestamp(replica.stopped_at)
    return {"id": replica.id, "versionId": str(revision), "status": status}


def timestamp(at: float) -> str:
    """RFC 3339 in UTC with microseconds and a trailing Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _person(person: Person) -> dict[str, str]:
    return {"id": person.id, "name": person.name}
