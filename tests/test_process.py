"""A child that outlives its parent's last moment: it must notice even a parent that died before it could ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from inlet.process import PARENT_VARIABLE


def run(parent: int) -> int:
    code = "from inlet.process import die_with_parent; die_with_parent()"
    env = {**os.environ, PARENT_VARIABLE: str(parent)}
    return subprocess.run([sys.executable, "-c", code], env=env, timeout=30, check=False).returncode


def test_a_child_whose_parent_is_already_gone_ends() -> None:
    assert run(os.getpid()) == 0
    assert run(2**22 - 1) == -signal.SIGTERM
