"""What a person asked for: the immutable values that an endpoint is made of.

Owned here: the shapes and the questions that can be answered from a shape alone. Built from JSON by `wire/v2.py`,
stored by `store/`, read by everything. Must never hold a secret in clear: `Model.secrets` are sealed by
`control/vault.py` before a `Spec` exists, and opened again only when a replica set is applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

DEFAULT_IDLE_MINUTES = 15


class Visibility(StrEnum):
    """`type` on the wire, kept as sent; `protected` is the older spelling of `private`."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    PRIVATE = "private"
    PROTECTED = "protected"


class MeasureKind(StrEnum):
    """What the autoscaler looks at."""

    HARDWARE_USAGE = "hardwareUsage"  # threshold in percent of the replica's vCPU
    PENDING_REQUESTS = "pendingRequests"  # threshold in requests per replica


@dataclass(frozen=True, slots=True)
class Measure:
    """One autoscaling strategy; `threshold` None means the default of that kind."""

    kind: MeasureKind
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Scaling:
    """Bounds on the number of replicas. `scale_to_zero_timeout` is in minutes and kept as sent."""

    min_replica: int
    max_replica: int
    scale_to_zero_timeout: int | None = None
    measure: Measure | None = None

    @property
    def idle_timeout(self) -> float | None:
        """Seconds without a request after which the endpoint falls asleep; None when it never does."""
        if self.min_replica > 0:
            return None
        minutes = DEFAULT_IDLE_MINUTES if self.scale_to_zero_timeout is None else self.scale_to_zero_timeout
        return minutes * 60.0


@dataclass(frozen=True, slots=True)
class Hardware:
    """Which row of the catalogue, as sent (aliases are resolved when the row is looked up)."""

    vendor: str
    region: str
    accelerator: str
    instance_type: str
    instance_size: str


@dataclass(frozen=True, slots=True)
class Image:
    """One variant of `model.image`: its key on the wire and its settings, as sent."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """What is served, and the settings of the process that serves it.

    `repository` is `org/name` on the Hub, or a local folder as an absolute path or `file://` URL, as sent.
    `secrets` maps names to sealed values.
    """

    repository: str
    framework: str
    image: Image
    revision: str | None = None
    task: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """All of a spec that decides what a replica is. Two unequal workloads are two revisions."""

    hardware: Hardware
    model: Model


@dataclass(frozen=True, slots=True)
class Spec:
    """An endpoint as asked for.

    `extras` is the request itself, as sent but without secrets, so that answers can repeat it field by field: `wire/v2`
    merges updates into it and renders from it.
    """

    visibility: Visibility
    workload: Workload
    scaling: Scaling
    tags: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
