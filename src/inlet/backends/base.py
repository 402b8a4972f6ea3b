"""The seam between control and a platform that keeps replicas alive.

The platform keeps `n` replicas of a replica set running; control decides `n`. Implemented by `fake`, `local` (and,
later, docker, kubernetes, ecs); driven by `control/reconciler.py`; held together by `tests/conformance/test_backends.py`.
An implementation must never decide how many replicas there should be, never change a record, and never answer an
observation that it could not make with an empty one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from inlet.core.catalogue import Instance
from inlet.core.seen import SeenReplicaSet


@dataclass(frozen=True, slots=True)
class Launch:
    """What one replica runs. `env` is final: secrets are already opened in it, so it must never be logged.

    `location` is a Hub repository id, or an absolute folder when `local`; `commit` a full hash, or None for a folder.
    `image_settings` are those of `model.image`, without credentials; the backend knows what they mean on its platform.
    """

    location: str
    local: bool
    commit: str | None
    task: str
    framework: str
    image_kind: str
    image_settings: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """`n` identical replicas of one revision. `id` is chosen by control and is the platform's label."""

    id: str
    endpoint_id: str
    revision: int
    n: int
    instance: Instance
    launch: Launch


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a replica's output. `at` in seconds since the epoch; `stream` is stdout or stderr."""

    at: float
    replica_id: str
    stream: str
    line: str


class Watched(Protocol):
    """What can be seen of a backend: all that the API needs of it. Raises `BackendUnavailable`."""

    async def observe(self) -> Sequence[SeenReplicaSet]:
        """Everything that carries our label: all of it, or an exception."""

    async def catalogue(self) -> Sequence[Instance]:
        """The rows of the catalogue with the availability that they have here."""

    def logs(
        self, endpoint_id: str, *, replica_id: str | None, tail: int | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        """Lines of one replica, or of all of an endpoint's, oldest first; also of replicas that have ended."""


class Backend(Watched, Protocol):
    """The verbs. Raises `Refused` when a person must act, `BackendUnavailable` when trying later may help."""

    async def start(self, on_change: Callable[[], None]) -> None:
        """Adopt what is already running; from now on call `on_change` whenever a new observation would differ."""

    async def stop(self, *, keep_replicas: bool) -> None:
        """Let go. With `keep_replicas` they run on and are adopted by the next `start`; else they drain and stop."""

    async def apply(self, replica_set: ReplicaSet) -> None:
        """Make it so: idempotent, `n` may be 0, returns when accepted. Fewer replicas drain before they stop."""

    async def remove(self, replica_set_id: str, *, grace: float) -> None:
        """Drain and stop all of it within `grace` seconds, then forget it; an unknown id is success."""

    async def forget(self, endpoint_id: str) -> None:
        """The endpoint is gone: drop its logs and whatever else is kept for it."""
