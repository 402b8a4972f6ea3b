"""Which environments of handlers go, and which stay."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from inlet.runtime import locks
from inlet.runtime.handler.prune import FINISHED, LOCK, UNUSED_FOR_S, prune

DAYS = 86_400.0


def environment(parent: Path, name: str, *, days: float = 0, size: int = 1000, finished: bool = True) -> Path:
    """One that was last used so many days ago."""
    folder = parent / name
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "module.py").write_bytes(b"x" * size)
    (folder / "lib" / "link").symlink_to(parent)
    folder.with_suffix(LOCK).touch()
    if finished:
        (folder / FINISHED).touch()
        when = time.time() - days * DAYS
        os.utime(folder / FINISHED, (when, when))
    return folder


def test_what_nobody_used_for_long_goes(tmp_path: Path) -> None:
    days = UNUSED_FOR_S / DAYS
    recent = environment(tmp_path, "recent", days=days - 1)
    gone = [environment(tmp_path, "unfinished", finished=False), environment(tmp_path, "old", days=days + 1)]
    used, made = environment(tmp_path, "used", days=days + 1), environment(tmp_path, "made", finished=False)
    assert locks.use(used / FINISHED)
    os.utime(used / FINISHED, (0, 0))  # what holds it is a lock, not its age
    with locks.turn(made.with_suffix(LOCK), pytest.fail, "nobody else is there"):
        assert prune(tmp_path) == gone
    assert all(folder.is_dir() for folder in (recent, used, made))
    assert not any(folder.exists() for folder in gone)


def test_beyond_a_size_the_least_recently_used_go(tmp_path: Path) -> None:
    third, first, second = (
        environment(tmp_path, name, days=days, size=100_000)
        for name, days in (("third", 1), ("first", 3), ("second", 2))
    )
    assert prune(tmp_path, most_bytes=400_000) == []
    assert prune(tmp_path, most_bytes=150_000) == [first, second]
    assert locks.use(third / FINISHED)
    assert prune(tmp_path, most_bytes=0) == []
