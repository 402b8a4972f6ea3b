"""Processes that a child started and left behind. Called by `process`.

Where a child has a namespace of processes they end with it. Elsewhere they become children of the replica, which asks the
kernel for that, and are told from its own by their session: a replica's own processes are in its session.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_PR_SET_CHILD_SUBREAPER = 36
_WITHIN_S = 5.0  # a killed process is gone in milliseconds, unless a disk holds it


def adopt() -> None:
    """From now on, what loses its parent below this process becomes its child. Linux only; elsewhere strays stay."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end(living: set[int]) -> None:
    """Kill them all and wait for that; `living` are the children, by number, that are at work."""
    import psutil  # which no start needs

    ours = os.getsid(0)
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):  # gone meanwhile
            if child.pid not in living and os.getsid(child.pid) != ours:
                found += [child, *child.children(recursive=True)]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=_WITHIN_S)
