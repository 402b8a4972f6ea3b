"""What the processes of an installation need of the operating system: dying together, private folders and files, locks.

Called by the entry points of parent, router and control before anything else, by the local backend for its lock (which
waits: in a thread), and by control for its private files. Must never start a thread or a loop.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from inlet.core.errors import Refused

EX_CONFIG = 78
"""Exit status of a process that no restart helps: a person must act first (as in sysexits.h)."""

PARENT_VARIABLE = "INLET_PARENT_PID"
"""Where `inlet up` tells its children its process id."""

LOCK_WITHIN_S = 2.0
"""How long to try for a lock whose holder may be dead: a child that it was just forking holds it until its exec."""

_LOCK_RETRY_S = 0.02
_PR_SET_PDEATHSIG = 1


def die_with_parent(sig: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to send `sig` to this process when its parent dies, however it dies.

    A parent that may die before its child's first line runs says who it is in `PARENT_VARIABLE`. Linux only; elsewhere nothing happens, and a killed parent leaves its children to be stopped by hand.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = int(os.environ.get(PARENT_VARIABLE, os.getppid()))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:  # it died before the kernel was asked: the signal will never come
        signal.raise_signal(sig)


def private_folder(path: Path) -> Path:
    """Make `path` a folder that only this user can enter; `Refused` if that cannot be, or somebody else owns it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            f"{path} cannot be made a folder ({error.strerror}): choose another INLET_HOME"
        ) from error
    found = path.stat()
    # A link that somebody else placed (in /tmp, say) could later be turned elsewhere.
    if {found.st_uid, path.lstat().st_uid} != {os.geteuid()}:
        raise Refused(f"{path} belongs to another user: choose another INLET_HOME")
    if found.st_mode & 0o077:
        path.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Make `path` a file with this content that only this user can read, whole or not at all."""
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def lock_file(path: Path, *, within: float | None) -> int | None:
    """Hold `path` exclusively until this process ends, however it ends; None if another still holds it after `within` s.

    Blocks; without `within`, for as long as it takes. The number is the open descriptor: keep it. The holder's process
    id is in the file, unless the disk was full.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if within is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    elif not _locked_by(descriptor, time.monotonic() + within):
        os.close(descriptor)
        return None
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _locked_by(descriptor: int, deadline: float) -> bool:
    # The kernel waits for a lock without end or not at all: between the two there is only asking again.
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOCK_RETRY_S)
        else:
            return True
