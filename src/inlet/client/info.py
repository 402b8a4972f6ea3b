"""An endpoint as the API answered it: the few fields that everybody reads, and the whole object beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inlet.core.endpoint import State


@dataclass(frozen=True, slots=True)
class EndpointInfo:
    """`raw` is the object as it came. `state` is a word of `core.endpoint.State`, or a newer server's new one.

    `task` and `limits` are what the server found out, where it says so; costs are USD, a month having 730 hours:
    `monthly_cost` of all replicas all the time, `monthly_cost_minimum` of the fewest (0 for one that may sleep).
    """

    name: str
    type: str
    state: str
    message: str
    error_message: str | None
    url: str | None
    health_route: str
    repository: str
    revision: str | None
    task: str | None
    instance: str
    min_replica: int
    max_replica: int
    scale_to_zero_timeout: int | None
    ready_replica: int
    target_replica: int
    created_at: str
    updated_at: str
    price_per_hour: float | None = None
    monthly_cost: float | None = None
    monthly_cost_minimum: float | None = None
    limits: str | None = None
    tags: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> EndpointInfo:
        """From the API's object; `KeyError` or `TypeError` if it lacks what every endpoint object has."""
        model, status, compute = raw["model"], raw["status"], raw["compute"]
        scaling, provider, ours = compute["scaling"], raw["provider"], raw.get("inlet") or {}
        return cls(
            name=raw["name"],
            type=raw["type"],
            state=status["state"],
            message=status.get("message") or "",
            error_message=status.get("errorMessage"),
            url=status.get("url"),
            health_route=raw["healthRoute"],
            repository=model["repository"],
            revision=model.get("revision"),
            task=ours.get("task") or model.get("task"),
            instance="-".join(
                (provider["vendor"], provider["region"], compute["instanceType"], compute["instanceSize"])
            ),
            min_replica=scaling["minReplica"],
            max_replica=scaling["maxReplica"],
            scale_to_zero_timeout=scaling.get("scaleToZeroTimeout"),
            ready_replica=status.get("readyReplica", 0),
            target_replica=status.get("targetReplica", 0),
            created_at=status["createdAt"],
            updated_at=status["updatedAt"],
            price_per_hour=ours.get("pricePerHour"),
            monthly_cost=ours.get("monthlyCost"),
            monthly_cost_minimum=ours.get("monthlyCostMinimum"),
            limits=(ours.get("limits") or {}).get("text"),
            tags=tuple(raw.get("tags") or ()),
            raw=raw,
        )

    @property
    def running(self) -> bool:
        return self.state == State.RUNNING and self.url is not None
