"""What all replica sets of one local backend share: folders, sockets, limits, timing, and work that must be finished.

Built by `backend.py`, handed to `supervisor.py` and `replica.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inlet.backends.local.command import Command
from inlet.backends.local.limits import Allotment, Rung
from inlet.backends.local.pool import Pool
from inlet.backends.local.records import SetFolder, safe
from inlet.core.errors import BackendUnavailable

LONGEST_SOCKET = 100  # bytes; the kernel takes 108 with the final zero
_SOCKET_NAME = "r-0123456789.sock"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, but for `…failures`: probes in a row without a good answer after which a ready replica is replaced.

    With these numbers one that hangs gets no new requests after 10 seconds at most, and is replaced after 30.
    """

    first_probe: float = 1.0  # between probes of a replica that is not ready; doubles up to `probe`
    probe: float = 5.0
    probe_timeout: float = 5.0
    failures: int = 3
    starting_failures: int = (
        12  # the same of one that is not ready yet: loading may keep it from answering for long
    )
    keeper_late: float = 15.0  # beyond the end of a drain, before a keeper that should have ended is killed
    settle: float = 60.0  # a replica that was ready for so long has lasted
    longest_backoff: float = 30.0  # between an end and the next start
    refill: float = 2.0  # before a spare process is started in the place of one that became a replica
    spare_answers: float = 20.0  # before a spare that got its orders is taken to hang


@dataclass(frozen=True, slots=True)
class Site:
    """`changed` is called whenever an observation would differ."""

    home: Path
    sockets: Path
    cache: Path
    artifacts: Path | None
    drain_seconds: float
    log_bytes: int
    timing: Timing
    command: Command
    pool: Pool
    rung: Rung
    machine: Allotment
    changed: Callable[[], None]
    _work: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def notify(self) -> Path:
        return notify_socket(self.sockets)

    def set_folder(self, set_id: str) -> SetFolder:
        return SetFolder(self.home / "replicas" / safe(set_id))

    def log(self, endpoint_id: str, replica_id: str) -> Path:
        return self.home / "logs" / safe(endpoint_id) / f"{safe(replica_id)}.log"

    def socket(self, replica_id: str) -> Path:
        """Short whatever the ids are."""
        return self.sockets / f"r-{hashlib.sha256(replica_id.encode()).hexdigest()[:10]}.sock"

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that nobody waits for now, but that `finish` does."""
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def finish(self) -> None:
        """Wait for all spawned work."""
        while self._work:
            await asyncio.wait(self._work)


def notify_socket(sockets: Path) -> Path:
    """Where replicas of this installation report to."""
    return sockets / "notify.sock"


def subtree_name(home: Path) -> str:
    """The name of this installation's subtree of control groups."""
    return f"inlet-{_hash(home)}"


def socket_folder(home: Path, run_dir: Path) -> Path:
    """`run_dir`, or a private folder below the temporary one when paths in it would be too long for a socket."""
    folder = run_dir
    if len(os.fsencode(run_dir / _SOCKET_NAME)) > LONGEST_SOCKET:
        folder = Path(tempfile.gettempdir()) / f"inlet-{os.getuid()}-{_hash(home)}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    # Anybody may make a folder below the temporary one, so it is used only if it is ours alone.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise BackendUnavailable(
            f"{folder} belongs to another user: remove it, or choose a shorter INLET_HOME"
        )
    folder.chmod(0o700)
    return folder


def _hash(home: Path) -> str:
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:10]
