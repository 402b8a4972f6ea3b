"""What a platform shows of the replica sets that it runs: the input of the control loop.

Filled by backends, read by `core/step.py`, by the route table and by the API's replica listing. Values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """`stage` of a replica on the wire. RUNNING means ready: a warm-up inference was answered."""

    PENDING = "pending"
    DOWNLOADING = "downloading"
    PULLING = "pulling"
    INITIALIZING = "initializing"
    RUNNING = "running"
    TERMINATING = "terminating"
    STOPPED = "stopped"


class ExitKind(StrEnum):
    """Why a replica ended, as far as the platform can tell."""

    STOPPED = "stopped"  # we asked for it
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out of memory"
    CONFIGURATION = "configuration"  # the replica itself said that a person must act
    UNRESPONSIVE = "unresponsive"  # its health went silent and the platform ended it


@dataclass(frozen=True, slots=True)
class Exit:
    """How a replica ended. `message` is for a person and carries the last lines of its output where they help."""

    kind: ExitKind
    message: str
    code: int | None = None


@dataclass(frozen=True, slots=True)
class SeenReplica:
    """One process, Pod or task. `detail` is progress in words; `cpu` the used share of its vCPU (1.0 = all), if known."""

    id: str
    phase: Phase
    address: str | None = None
    started_at: float | None = None
    stopped_at: float | None = None
    exit: Exit | None = None
    detail: str = ""
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class SeenReplicaSet:
    """A replica set as the platform has it. `n` is the number it was last told to keep.

    `failed_starts` counts replicas that ended before they were ready, or soon after, since the last one that lasted;
    `last_exit` is the newest exit that nobody asked for. `limits` says in words whether vCPU and memory are
    enforced or best effort, and how much there is when the instance is larger than the machine.
    """

    id: str
    endpoint_id: str
    revision: int
    n: int
    replicas: tuple[SeenReplica, ...] = ()
    failed_starts: int = 0
    last_exit: Exit | None = None
    limits: str = ""

    @property
    def ready(self) -> tuple[SeenReplica, ...]:
        """The replicas that may be sent requests."""
        return tuple(r for r in self.replicas if r.phase is Phase.RUNNING and r.address is not None)
