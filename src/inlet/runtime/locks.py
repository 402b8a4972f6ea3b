"""Locks on files by which processes of this machine agree who makes something, who uses it and who may remove it.

Called by `artifact/store`, `origins/exports`, `gguf/conversion`, `scratch` and `handler`. A lock goes with its process, however that ends. Must never hold two
locks in another order than: one artifact, this machine's builds, exports; of an environment of packages its making, its use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from inlet.process import lock_file

_SAID_AGAIN_S = 60.0  # well within what `apart` takes for silence
_kept: set[tuple[int, int]] = set()  # device and inode of each file that `use` holds
_kept_lock = threading.Lock()


@contextlib.contextmanager
def turn(path: Path, report: Callable[[str], None], waiting: str) -> Iterator[None]:
    """Hold `path` alone; while another process does, `report` hears `waiting` once a minute."""
    lock = lock_file(path, within=0)
    while lock is None:
        report(waiting)
        lock = lock_file(path, within=_SAID_AGAIN_S)
    try:
        yield
    finally:
        os.close(lock)


def use(path: Path) -> bool:
    """Keep what belongs to the file `path` from being removed until this process ends, and note that it was used now.

    False if it is gone.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    found = os.fstat(descriptor)
    if found.st_nlink == 0:  # removed while this process waited
        os.close(descriptor)
        return False
    with contextlib.suppress(OSError):  # another user's, or on a disk that is full or cannot be written
        os.utime(descriptor)
    with _kept_lock:
        if (found.st_dev, found.st_ino) in _kept:  # a model that was loaded before holds it already
            os.close(descriptor)
        _kept.add((found.st_dev, found.st_ino))
    return True


@contextlib.contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Whether no process holds `path`, which is so as long as the block lasts. What does not exist is unused."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
