"""Shapes of answers and of the update, for the OpenAPI document only: answers are made by `render`, not from these.

Read by `control/openapi.py` through the routes. A test holds real answers against them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from inlet.wire.v2 import documents


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class Empty(_Shape):
    """Nothing to say."""


class Error(_Shape):
    """Every error."""

    error: str


class Person(_Shape):
    """Who did it."""

    id: str
    name: str


class Status(_Shape):
    """Where an endpoint stands."""

    state: Literal[
        "pending", "initializing", "running", "updating", "updateFailed", "paused", "scaledToZero", "failed"
    ]
    message: str
    error_message: str | None = None
    url: str | None
    created_at: str
    created_by: Person
    updated_at: str
    updated_by: Person
    ready_replica: int
    target_replica: int
    last_used_at: str | None
    inference_metrics_enabled: bool
    private: None


class CpuLimit(_Shape):
    """The vCPU that a replica gets, whether it is held to them by force, and by which means."""

    vcpus: float
    hold: Literal["enforced", "best effort"]
    by: str


class MemoryLimit(_Shape):
    """The memory that a replica gets, whether it is held to it by force, and by which means."""

    bytes: int
    hold: Literal["enforced", "best effort"]
    by: str


class Limits(_Shape):
    """What each replica gets of its instance. `whole` is false when the machine has less; `text` says it all in a line."""

    cpu: CpuLimit
    memory: MemoryLimit
    whole: bool
    text: str


class Extra(_Shape):
    """What this server adds to the public API's object; costs in USD."""

    endpoint_id: str
    revision: int
    serving_revision: int | None
    commit: str | None
    task: str | None
    limits: Limits | None
    price_per_hour: float | None
    monthly_cost: float | None
    monthly_cost_minimum: float | None


class Endpoint(documents.Document):
    """An endpoint: what was asked for, as it was sent, and its status."""

    name: str
    health_route: str
    status: Status
    inlet: Extra


class EndpointList(_Shape):
    """A list, or one page of it."""

    items: list[Endpoint]
    total_items: int
    next_cursor: str | None = None
    prev_cursor: str | None = None


class Name(_Shape):
    """An endpoint's name."""

    name: str


class NameList(_Shape):
    """Names."""

    items: list[Name]


class Update(_Shape):
    """Any part of an endpoint: merged into what is there, null leaves a field as it is."""

    type: documents.TypeName | None = None
    provider: dict[str, Any] | None = None
    compute: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    tags: list[str] | None = None
    cache_http_responses: bool | None = None
    experimental_features: documents.ExperimentalFeatures | None = None
    notifications: documents.Notifications | None = None
    network: documents.Network | None = None


class ReplicaStatus(_Shape):
    """Where a replica stands."""

    stage: Literal["pending", "downloading", "pulling", "initializing", "running", "terminating", "stopped"]
    live: bool
    updating: bool
    exit_code: int | None = None
    started_at: str | None = None
    stopped_at: str | None = None


class Replica(_Shape):
    """One replica; `versionId` is its revision."""

    id: str
    version_id: str
    status: ReplicaStatus


class ReplicaList(_Shape):
    """All replicas of an endpoint, those that ended lately included."""

    items: list[Replica]


class LogEntry(BaseModel):
    """One line of a replica's output."""

    timestamp: str
    line: str
    stream: str
    replica_id: str
    level: str | None = None
