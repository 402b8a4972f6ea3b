"""A disk that is soon full: a small file system of its own, which takes root to mount."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLER = "filler"


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[Path]:
    """`folder`, made and mounted with so much room; skips the test where nothing can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small disk that this test fills")
    folder.mkdir()
    size = f"size={megabytes}m,mode=0700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte on its disk."""
    with (folder / FILLER).open("ab", buffering=0) as filler:
        for step in (65_536, 4096, 1):
            try:
                while filler.write(b"x" * step):
                    pass
            except OSError:
                continue


def free(folder: Path) -> None:
    """Give the room back."""
    (folder / FILLER).unlink()
