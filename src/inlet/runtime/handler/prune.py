"""Frees environments of handlers that nobody uses any more. Called by `environment` after it made another one, in a thread.

By the rule of `inlet artifact prune`, and one more: keeps what a running replica holds and what anybody used not long ago, but
of the latter only so much that all of them together stay below a bound. Never waits.
"""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path

from inlet.runtime import locks

FINISHED, LOCK = "finished", ".lock"
"""A file in an environment, held by who uses it, and the suffix of a file beside it, held by who makes it."""
UNUSED_FOR_S = 30 * 86_400.0
MOST_BYTES = 20_000_000_000
_log = logging.getLogger(__name__)


def prune(parent: Path, *, unused_for: float = UNUSED_FOR_S, most_bytes: int = MOST_BYTES) -> list[Path]:
    """Remove what in this folder was not used for so many seconds, and the least recently used beyond so many bytes; which."""
    sizes = {folder: _size(folder) for folder in parent.iterdir() if folder.is_dir()}
    total, before = sum(sizes.values()), time.time() - unused_for
    freed = []
    for folder in sorted(sizes, key=_last_used):
        if (_last_used(folder) <= before or total > most_bytes) and _removed(folder):
            _log.info("removed an environment of handlers that nobody uses: %s", folder)
            total -= sizes[folder]
            freed.append(folder)
    return freed


def _last_used(folder: Path) -> float:
    """One that was not finished is of no use at any age."""
    try:
        return (folder / FINISHED).stat().st_mtime
    except OSError:
        return 0.0


def _removed(folder: Path) -> bool:
    """Unless somebody makes it or uses it."""
    with locks.unused(folder.with_suffix(LOCK)) as unmade, locks.unused(folder / FINISHED) as unused:
        if not (unmade and unused):
            return False
        # Without this file it is made again, wherever a removal ends.
        (folder / FINISHED).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        return True


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # gone at this moment
            total += path.lstat().st_size
    return total
