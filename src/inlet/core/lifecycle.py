"""The lifecycle of an endpoint as one table: every change of state there is, and nothing else.

Two rules. Everything that changes a state is a row here, and no second place sets one. A row that no history takes
is a dead row; the simulator in `tests/core/` fails on it.

*Intents* come from people (`core/intents.py` asks for them): one without a row is refused. *Facts* come from looking
(`core/step.py` finds them): one without a row is ignored. The diagram in `docs/design/lifecycle.md` is drawn from
`TABLE` by `docs/build.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inlet.core.endpoint import State


class Intent(StrEnum):
    """What a person wants. An update is an intent here only when it changes what runs."""

    UPDATE = "update"
    PAUSE = "pause"
    RESUME = "resume"
    SCALE_TO_ZERO = "scale to zero"
    DELETE = "delete"


class Fact(StrEnum):
    """What was seen."""

    SCHEDULED = "scheduled"  # the platform shows a replica of the target revision
    READY = "ready"  # enough replicas of the target are ready to carry the endpoint
    LOST = "lost"  # no ready replica is left
    FELL_BACK = "fell back"  # the target cannot start, the last good revision can serve
    GAVE_UP = "gave up"  # nothing that there is can start
    IDLE = "idle"  # no request for as long as the scale-to-zero timeout
    DEMAND = "demand"  # a request waits, or the bounds now ask for a replica
    EMPTIED = "emptied"  # the platform shows nothing of the endpoint any more


@dataclass(frozen=True, slots=True)
class Row:
    """One change of state, and in words what it means."""

    state: State
    event: Intent | Fact
    next: State
    meaning: str


TABLE: tuple[Row, ...] = (
    # The platform has not shown a replica yet.
    Row(State.PENDING, Fact.SCHEDULED, State.INITIALIZING, "a replica was started"),
    Row(State.PENDING, Fact.FELL_BACK, State.UPDATE_FAILED, "the new revision cannot be started; the last good one serves"),
    Row(State.PENDING, Fact.GAVE_UP, State.FAILED, "the model or the platform refused, and nothing else can serve"),
    Row(State.PENDING, Intent.UPDATE, State.PENDING, "start the newer revision instead"),
    Row(State.PENDING, Intent.PAUSE, State.PAUSED, "stop"),
    Row(State.PENDING, Intent.SCALE_TO_ZERO, State.SCALED_TO_ZERO, "stop until there is demand"),
    Row(State.PENDING, Intent.DELETE, State.DELETING, "stop and forget"),
    # Replicas start; none is ready, or too few to take over.
    Row(State.INITIALIZING, Fact.READY, State.RUNNING, "the warm-up inference was answered"),
    Row(State.INITIALIZING, Fact.FELL_BACK, State.UPDATE_FAILED, "the new revision does not start; the last good one serves"),
    Row(State.INITIALIZING, Fact.GAVE_UP, State.FAILED, "it does not start, and nothing else can serve"),
    Row(State.INITIALIZING, Intent.UPDATE, State.PENDING, "start the newer revision instead"),
    Row(State.INITIALIZING, Intent.PAUSE, State.PAUSED, "stop"),
    Row(State.INITIALIZING, Intent.SCALE_TO_ZERO, State.SCALED_TO_ZERO, "stop until there is demand"),
    Row(State.INITIALIZING, Intent.DELETE, State.DELETING, "stop and forget"),
    # The target revision serves.
    Row(State.RUNNING, Fact.LOST, State.INITIALIZING, "every replica is gone; the platform restarts them"),
    Row(State.RUNNING, Fact.IDLE, State.SCALED_TO_ZERO, "nobody asked for a while"),
    Row(State.RUNNING, Intent.UPDATE, State.UPDATING, "start a new revision beside the one that serves"),
    Row(State.RUNNING, Intent.PAUSE, State.PAUSED, "drain and stop"),
    Row(State.RUNNING, Intent.SCALE_TO_ZERO, State.SCALED_TO_ZERO, "drain and stop until there is demand"),
    Row(State.RUNNING, Intent.DELETE, State.DELETING, "drain, stop and forget"),
    # A new revision grows while the last good one serves.
    Row(State.UPDATING, Fact.READY, State.RUNNING, "the new revision carries the endpoint alone"),
    Row(State.UPDATING, Fact.FELL_BACK, State.UPDATE_FAILED, "the new revision does not start; the last good one stays"),
    Row(State.UPDATING, Fact.GAVE_UP, State.FAILED, "neither the new revision nor the last good one starts"),
    Row(State.UPDATING, Intent.UPDATE, State.UPDATING, "start the newer revision instead"),
    Row(State.UPDATING, Intent.PAUSE, State.PAUSED, "drain and stop"),
    Row(State.UPDATING, Intent.SCALE_TO_ZERO, State.SCALED_TO_ZERO, "drain and stop until there is demand"),
    Row(State.UPDATING, Intent.DELETE, State.DELETING, "drain, stop and forget"),
    # The last good revision serves; the newer one could not be started.
    Row(State.UPDATE_FAILED, Fact.GAVE_UP, State.FAILED, "the last good revision does not start any more either"),
    Row(State.UPDATE_FAILED, Fact.IDLE, State.SCALED_TO_ZERO, "nobody asked for a while"),
    Row(State.UPDATE_FAILED, Intent.UPDATE, State.UPDATING, "try another revision beside the one that serves"),
    Row(State.UPDATE_FAILED, Intent.PAUSE, State.PAUSED, "drain and stop"),
    Row(State.UPDATE_FAILED, Intent.SCALE_TO_ZERO, State.SCALED_TO_ZERO, "drain and stop until there is demand"),
    Row(State.UPDATE_FAILED, Intent.DELETE, State.DELETING, "drain, stop and forget"),
    # Stopped by a person; only a person starts it again.
    Row(State.PAUSED, Intent.UPDATE, State.PAUSED, "the newer revision starts on resume"),
    Row(State.PAUSED, Intent.PAUSE, State.PAUSED, "it is"),
    Row(State.PAUSED, Intent.RESUME, State.PENDING, "start"),
    Row(State.PAUSED, Intent.DELETE, State.DELETING, "forget"),
    # Asleep; a request or a person wakes it.
    Row(State.SCALED_TO_ZERO, Fact.DEMAND, State.PENDING, "a request waits, or at least one replica is asked for"),
    Row(State.SCALED_TO_ZERO, Intent.UPDATE, State.SCALED_TO_ZERO, "the newer revision starts on demand"),
    Row(State.SCALED_TO_ZERO, Intent.PAUSE, State.PAUSED, "do not wake by request"),
    Row(State.SCALED_TO_ZERO, Intent.RESUME, State.PENDING, "start"),
    Row(State.SCALED_TO_ZERO, Intent.SCALE_TO_ZERO, State.SCALED_TO_ZERO, "it is"),
    Row(State.SCALED_TO_ZERO, Intent.DELETE, State.DELETING, "forget"),
    # Nothing runs; a person must act.
    Row(State.FAILED, Intent.UPDATE, State.PENDING, "try the repaired revision"),
    Row(State.FAILED, Intent.RESUME, State.PENDING, "try once more"),
    Row(State.FAILED, Intent.PAUSE, State.PAUSED, "leave it"),
    Row(State.FAILED, Intent.DELETE, State.DELETING, "forget"),
    # Going away.
    Row(State.DELETING, Fact.EMPTIED, State.GONE, "nothing of it is left"),
)  # fmt: skip

NEXT: dict[tuple[State, Intent | Fact], State] = {(row.state, row.event): row.next for row in TABLE}
"""The table as a lookup."""
