"""Processes that a child started and left behind. Called by `process`.

Where a child has a namespace of processes they end with it. Elsewhere they become children of the replica, which asks the
kernel for that, and are told from its own: those are in its session, or were started by `spared`.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_PR_SET_CHILD_SUBREAPER = 36
_WITHIN_S = 5.0  # a killed process is gone in milliseconds, unless a disk holds it
_spared: set[int] = set()
# Held by the event loop while a process is started, maybe by several at once, and by `end` while it tells whose they are.
_known = threading.RLock()


def adopt() -> None:
    """From now on, what loses its parent below this process becomes its child. Linux only; elsewhere strays stay."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextmanager
def spared() -> Iterator[Callable[[int], None]]:
    """Around the start of a process in a session of its own, on the event loop; it gives what must be told its number."""
    with _known:
        yield _spared.add


def forget(pid: int) -> None:
    """One that was spared is gone."""
    _spared.discard(pid)


def end() -> None:
    """Kill them all and wait for that. Called in a thread."""
    import psutil  # which no start needs

    ours = os.getsid(0)
    found: list[psutil.Process] = []
    with _known:
        for child in psutil.Process().children():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):  # gone meanwhile
                if child.pid not in _spared and os.getsid(child.pid) != ours:
                    found += [child, *child.children(recursive=True)]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=_WITHIN_S)
