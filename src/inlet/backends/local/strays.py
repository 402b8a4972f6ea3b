"""Processes of ours that no record knows: found by the two variables that every keeper and replica carries.

Called by `backend.py` once at start and by `replica.py` after a keeper that was killed. Blocks for some milliseconds
(it reads the process table): call it in a thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


def kill_processes_of(notify: Path, replica_ids: set[str]) -> None:
    """Kill whatever runs as one of these replicas."""
    for pid, replica_id in _marked(notify):
        if replica_id in replica_ids:
            _kill(pid)


def kill_processes_except(notify: Path, replica_ids: set[str]) -> None:
    """Kill whatever runs as a replica of this installation that is not one of these."""
    for pid, replica_id in _marked(notify):
        if replica_id not in replica_ids:
            _kill(pid)


def _marked(notify: Path) -> Iterator[tuple[int, str]]:
    """(process id, replica id) of every process that reports to this installation's socket."""
    marker = b"NOTIFY_SOCKET=" + os.fsencode(notify)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended, or is another user's
            if marker in variables:
                for variable in variables:
                    if variable.startswith(b"INLET_REPLICA_ID="):
                        yield int(folder.name), variable.partition(b"=")[2].decode(errors="replace")


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
