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


def starved() -> int:
    """How many processes of this one's control group the kernel has killed for want of memory; 0 where nobody counts."""
    counts = (killed_in(folder) for group, _ in _own_groups() for folder in (group, *group.parents))
    return next((count for count in counts if count is not None), 0)


def killed_in(group: Path) -> int | None:
    """The same of the control group with this folder, of either version; None if it does not count."""
    words = (_text(group / "memory.events") or _text(group / "memory.oom_control")).split()
    return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else None


def _group_limits() -> Iterator[int]:
    """The limits of the groups that this process is in, and of those around them."""
    for group, name in _own_groups():
        for folder in (group, *group.parents):
            limit = _text(folder / name).strip()
            if limit.isdigit():
                yield int(limit)


def _own_groups() -> Iterator[tuple[Path, str]]:
    """The folder of each group that this process is in, and the file in it that has its limit.

    Inside a container the path may be told as the host sees it: then there is none, and the mount point above it is our own group.
    """
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        for mount, name in (_GROUPS[kind] for kind in controllers.split(",") if kind in _GROUPS):
            yield mount / path.lstrip("/"), name


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
