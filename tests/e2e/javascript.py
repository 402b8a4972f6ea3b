"""Packages of npm for programs that the tests run with node: installed once, kept beside the environments of Python."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

from tests.environments import VENVS


def package(name: str, version: str) -> Path:
    """The folder of that package, with what it needs around it."""
    folder = VENVS / f"node-{name.replace('/', '-')}-{version}"
    stamp = folder / "installed"
    VENVS.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not stamp.exists():
            wanted = f"{name}@{version}"
            subprocess.run(["npm", "install", "--silent", "--prefix", folder, wanted], check=True)
            stamp.touch()
    return folder / "node_modules" / name
