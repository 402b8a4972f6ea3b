"""What several controls on one database let each other know: the bodies of notices, as JSON.

Written and read by `control/leading.py` and `control/following.py`, carried by the store. Fields that an older control
does not know are passed over; a body that cannot be read is pydantic's ValidationError.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from inlet.core.routes import Signals
from inlet.core.seen import SeenReplicaSet

SIGHT = "sight"  # put up by the control that leads: a `Sight`
SIGNALS = "signals"  # by each of the others: `Reports`
PRESENCE = "presence"  # by each of the others: the URL of its API


@dataclass(frozen=True, slots=True)
class Place:
    """Where replicas with an address on a Unix socket run.

    `boot` is the machine's, different after each start of it; `marker` a file with the control's id that only somebody
    who can also reach the sockets can read.
    """

    boot: str
    marker: str


@dataclass(frozen=True, slots=True)
class Sight:
    """What the control that leads saw last, complete; `routed` names the replica sets that may be sent requests."""

    place: Place
    sets: tuple[SeenReplicaSet, ...]
    routed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reports:
    """The newest report of each router of one control. `at`: when they were put up, on the clock that their times are of."""

    at: float
    reports: tuple[Signals, ...]


_SIGHT: TypeAdapter[Sight] = TypeAdapter(Sight)
_REPORTS: TypeAdapter[Reports] = TypeAdapter(Reports)


def dump_sight(sight: Sight) -> str:
    """The JSON of a sight."""
    return _SIGHT.dump_json(sight).decode()


def load_sight(text: str) -> Sight:
    """A sight from its JSON."""
    return _SIGHT.validate_json(text)


def dump_reports(reports: Reports) -> str:
    """The JSON of reports."""
    return _REPORTS.dump_json(reports).decode()


def load_reports(text: str) -> Reports:
    """Reports from their JSON."""
    return _REPORTS.validate_json(text)
