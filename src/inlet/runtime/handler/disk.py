"""How much of the disk a handler may fill. Made by `sandbox`; asked by the worker's `process`, in a thread.

A limit of the kernel counts single files, and its quotas need a file system that was made with them. So the disk is looked at,
which costs nothing while it has room; only when it has not are the handler's own folders added up. In bubblewrap these are all
that it can write to, beside memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LEAST_FREE = 5_000_000_000
MOST_HELD = 1_000_000_000
"""Bytes: with less than the first free on the disk, a handler that holds more than the second has to go."""
_BLOCK = 512  # what `st_blocks` counts in


@dataclass(frozen=True, slots=True)
class Folders:
    """Those that it can write to, on one disk."""

    paths: Sequence[Path]

    def reason(self) -> str | None:
        """Why it must go, None if it may stay."""
        try:
            free = shutil.disk_usage(self.paths[0]).free
        except FileNotFoundError:  # removed: its end has come anyway
            return None
        if free >= LEAST_FREE or not self._are_large():
            return None
        return (
            f"had written more than {MOST_HELD / 1e9:g} GB to its home and /tmp when only {free / 1e9:.1f} GB were left on the "
            "server's disk; these were emptied"
        )

    def clear(self) -> None:
        """Empty them. Nothing may run in them any more."""
        for folder in self.paths:
            with suppress(FileNotFoundError):
                folder.chmod(0o700)
                for parent, names, _ in os.walk(folder):
                    for path in (Path(parent, name) for name in names):
                        if not path.is_symlink():
                            path.chmod(0o700)  # so that its files can be removed
                for path in folder.iterdir():
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink(missing_ok=True)

    def _are_large(self) -> bool:
        """By what files take on the disk, which for one with holes is less than it seems to have."""
        held = 0
        for folder in self.paths:
            try:
                for parent, _, files in os.walk(folder, onerror=_raise):
                    for name in files:
                        with suppress(FileNotFoundError):
                            held += Path(parent, name).lstat().st_blocks * _BLOCK
            except PermissionError:  # who hides something is not given the benefit of the doubt
                return True
        return held > MOST_HELD


def _raise(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise error
