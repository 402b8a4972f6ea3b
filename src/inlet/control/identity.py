"""Which installation this is, and where: how several controls on one database tell each other apart.

Called by `control/several.py`. The id lies in the home (0600) and stays the same over restarts. It is made anew where the
home turns out to be a copy: two with the same id would both take the other's lease for their own.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from pathlib import Path

from inlet import process
from inlet.wire.notices import Place

_FILE = "control.id"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MACHINE = Path("/etc/machine-id")


def own_id(home: Path) -> str:
    """The id of the installation in this folder, made at the first call."""
    path = home / _FILE
    machine = _read(_MACHINE) or socket.gethostname()  # many containers have no id of their machine
    here = [str(home.resolve()), machine]
    found = _read(path).splitlines()
    if found and found[1:] == here:
        return found[0]
    made = secrets.token_hex(8)
    process.write_private(path, "\n".join((made, *here)) + "\n")
    return made


def own_place(home: Path) -> Place:
    """Where the replicas of the installation in this folder run."""
    return Place(_read(_BOOT), str(home / _FILE))


def within_reach(place: Place, id_: str) -> bool:
    """Whether replicas of the control with that id, at that place, can be reached from this process. Blocks for a moment.

    The boot alone does not tell (containers of one machine have it in common), nor does the file (folders are shared
    over networks, and sockets in them are not).
    """
    return place.boot == _read(_BOOT) and _read(Path(place.marker)).splitlines()[:1] == [id_]


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""
