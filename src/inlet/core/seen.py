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
    NOT_STARTED = "not started"  # the platform could not begin: a full disk, say; no fault of the revision


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
class Hold:
    """By which means something is limited, and whether the platform enforces it on every process of a replica."""

    enforced: bool
    by: str

    @property
    def word(self) -> str:
        """As documented: in the API, on the command line, in the docs."""
        return "enforced" if self.enforced else "best effort"


@dataclass(frozen=True, slots=True)
class Limits:
    """What each replica of a set gets. `memory` in bytes; `instance_…` is what its instance promises."""

    vcpus: float
    memory: int
    cpu_hold: Hold
    memory_hold: Hold
    instance_vcpus: float
    instance_memory: int

    @property
    def whole(self) -> bool:
        """Whether a replica gets all that its instance promises."""
        return self.vcpus >= self.instance_vcpus and self.memory >= self.instance_memory

    @property
    def words(self) -> str:
        """For a person, in one line."""
        cpu, memory = f"{self.vcpus:g} vCPU", gigabytes(self.memory)
        if self.cpu_hold == self.memory_hold:
            text = f"{self.cpu_hold.word}: {cpu}, {memory} ({self.cpu_hold.by})"
        else:
            text = (
                f"{self.cpu_hold.word}: {cpu} ({self.cpu_hold.by}); "
                f"{self.memory_hold.word}: {memory} ({self.memory_hold.by})"
            )
        if self.whole:
            return text
        promised = f"{self.instance_vcpus:g} vCPU, {gigabytes(self.instance_memory)}"
        return f"{text}. The instance has {promised}, which is more than this machine has"


def gigabytes(size: float) -> str:
    """A size in bytes as people say it: 256 MB, 2 GB, 23.5 GB (binary ones, as clouds sell them)."""
    if size < 2**30:
        return f"{size / 2**20:.0f} MB"
    return f"{round(size / 2**30, 1):.10g} GB"


@dataclass(frozen=True, slots=True)
class SeenReplicaSet:
    """A replica set as the platform has it. `n` is the number it was last told to keep.

    `failed_starts` counts replicas that ended before they were ready, since the last one that was; `ends` all that ended
    although nobody asked for it, ready or not, since the last one that lasted. `last_exit` is the newest such end;
    `limits` is None as long as the platform does not know them.
    """

    id: str
    endpoint_id: str
    revision: int
    n: int
    replicas: tuple[SeenReplica, ...] = ()
    failed_starts: int = 0
    ends: int = 0
    last_exit: Exit | None = None
    limits: Limits | None = None

    @property
    def ready(self) -> tuple[SeenReplica, ...]:
        """The replicas that may be sent requests."""
        return tuple(r for r in self.replicas if r.phase is Phase.RUNNING and r.address is not None)
