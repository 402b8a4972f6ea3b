"""Folders of a process's own in the machine's temporary one, which go with it, however it ends.

Made by `foreign/supervisor`, `gguf/check` and `handler/sandbox`. A process that is killed leaves its folder; the next one that makes one of its kind removes it.
Which are in use is told by a lock, so never by an age or a process id.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

from inlet.process import lock_file
from inlet.runtime import locks

_LOCK = "lock"
_UNLOCKED = "inlet-new-"  # until it has its lock


class Scratch:
    """An empty folder but for its lock, which nobody but this user can enter. `kind`: a short word, part of its name."""

    def __init__(self, kind: str) -> None:
        prefix = f"inlet-{kind}-"
        _clear_away(prefix)
        made = Path(tempfile.mkdtemp(prefix=_UNLOCKED))
        lock = lock_file(made / _LOCK, within=None)
        assert lock is not None  # noqa: S101 - it is waited for
        self.path = made.rename(made.with_name(prefix + made.name.removeprefix(_UNLOCKED)))
        self._end = weakref.finalize(self, _remove, self.path, lock)

    def close(self) -> None:
        """Remove it with all that is in it; a second time does nothing."""
        self._end()


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _clear_away(prefix: str) -> None:
    """What others of this user left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):  # gone meanwhile
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                with locks.unused(folder / _LOCK) as unused:
                    if unused:
                        shutil.rmtree(folder, ignore_errors=True)
