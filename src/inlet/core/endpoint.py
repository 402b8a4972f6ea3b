"""The record of one endpoint: the spec, where it stands, and what the control loop remembers between two steps.

Created by `control/commands.py`, changed only by `core/step.py` (facts) and `core/lifecycle.py` (intents), stored as
one row guarded by `version`. Everything that can be seen from outside (replicas, addresses) is *not* here: it is
observed anew each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inlet.core.models import Listed
from inlet.core.spec import Spec, Workload


class State(StrEnum):
    """The states of the lifecycle; the last two never leave the control plane."""

    PENDING = "pending"
    INITIALIZING = "initializing"
    RUNNING = "running"
    UPDATING = "updating"
    UPDATE_FAILED = "updateFailed"
    PAUSED = "paused"
    SCALED_TO_ZERO = "scaledToZero"
    FAILED = "failed"
    DELETING = "deleting"
    GONE = "gone"


class Cause(StrEnum):
    """Who can mend a failure: a person by changing the endpoint, or a mere second try."""

    CONFIGURATION = "configuration"
    RUNTIME = "runtime"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the newest revision does not run, in words that a person can act on."""

    cause: Cause
    message: str


@dataclass(frozen=True, slots=True)
class Source:
    """What a revision's model turned out to be when it was looked up, once, so that all its replicas agree.

    `location` is the Hub's repository id or the resolved absolute folder; `commit` is the full hash on the Hub and
    None for a folder; `task` is the one asked for, else the one guessed from the model. `models`: where several are served,
    all of them in the same way, this one first.
    """

    location: str
    local: bool
    commit: str | None
    task: str
    models: tuple[Listed, ...] = ()


@dataclass(frozen=True, slots=True)
class Revision:
    """One immutable, numbered snapshot of a workload. `source` is None until the model was looked up."""

    number: int
    workload: Workload
    created_at: float
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Who did it, as the API shows it."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row. `target` is what should run; `serving` the last revision that was fully ready, if any.

    `replicas` is the number wanted now; `ready` the number of ready replicas at the last step (what the API shows);
    `since` when `state` was entered; `starting_since` when the present attempt to start the target began;
    `ready_since` when the endpoint last became ready (the idle clock starts there); `deployed` whether it ever was
    ready (the URL is shown from then on). All times in seconds since the epoch.
    """

    id: str
    namespace: str
    name: str
    spec: Spec
    state: State
    version: int
    target: Revision
    serving: Revision | None
    replicas: int
    ready: int
    failure: Failure | None
    deployed: bool
    since: float
    starting_since: float
    ready_since: float | None
    last_used_at: float | None
    created_at: float
    created_by: Person
    updated_at: float
    updated_by: Person
    scaled_at: float = 0.0  # when the autoscaler last changed `replicas`
    note: str | None = (
        None  # what the present attempt waits for, if it is held up (the Hub or the platform is away)
    )

    @property
    def visible(self) -> bool:
        """Whether the API and the router know it."""
        return self.state not in (State.DELETING, State.GONE)


def replica_set_id(endpoint: Endpoint, revision: Revision) -> str:
    """Name of the replica set that runs this revision: fixed before anything is created, so that it can be found."""
    return f"{endpoint.id}-r{revision.number}"
