"""How much memory this process, with its children, may still take. Asked before something large is made that can be done without.

An estimate, from what the operating system says at this moment: whoever asks must be prepared to be wrong. Takes some
milliseconds, so never call it on the event loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

# Where the control groups of version 2 and 1 are mounted, and the file that has a group's limit.
_GROUPS = {
    "": (Path("/sys/fs/cgroup"), "memory.max"),
    "memory": (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
}


def own() -> int:
    """Bytes that this process has for itself: what ends with it."""
    return int(psutil.Process().memory_full_info().uss)


def taken() -> int:
    """Bytes of this process and of all below it, which share its limits. What several processes map counts once."""
    total = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(
            psutil.NoSuchProcess, psutil.AccessDenied
        ):  # gone, or another user's: its own limit holds it
            total += int(process.memory_full_info().pss)
    return total


def free(allowed: int | None) -> int:
    """Bytes that can still be taken, of `allowed`, of the control groups' limits, and of what the machine has available."""
    limit = min((math.inf if allowed is None else allowed, *_group_limits()))
    return int(min(psutil.virtual_memory().available, limit - taken()))


def _group_limits() -> Iterator[int]:
    """The limits of the groups that this process is in, and of those around them."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        for mount, name in (_GROUPS[kind] for kind in controllers.split(",") if kind in _GROUPS):
            # Inside a container the path may be told as the host sees it; then the mount point is our own group.
            for folder in (mount / path.lstrip("/"), *(mount / path.lstrip("/")).parents):
                limit = _text(folder / name).strip()
                if limit.isdigit():
                    yield int(limit)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
