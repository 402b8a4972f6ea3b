"""A child that outlives its parent's last moment, and a lock that outlives its holder's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from inlet.process import PARENT_VARIABLE, lock_file

IMPORTS = "import sys; from inlet.process import lock_file; from pathlib import Path; "
HOLD = f"{IMPORTS} lock_file(Path(sys.argv[1]), within=0); print(flush=True); sys.stdin.read()"
WAIT = f"{IMPORTS} print(flush=True); assert lock_file(Path(sys.argv[1]), within=None) is not None"


def run(parent: int) -> int:
    code = "from inlet.process import die_with_parent; die_with_parent()"
    env = {**os.environ, PARENT_VARIABLE: str(parent)}
    return subprocess.run([sys.executable, "-c", code], env=env, timeout=60, check=False).returncode


def test_a_child_whose_parent_is_already_gone_ends() -> None:
    assert run(os.getpid()) == 0
    assert run(2**22 - 1) == -signal.SIGTERM


def test_a_lock_is_refused_while_it_is_held_and_taken_as_soon_as_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        assert path.read_text() == f"{holder.pid}\n"
        assert lock_file(path, within=0.1) is None
        # As a killed process's lock is let go of: by the last of its children, a moment later.
        threading.Timer(0.2, holder.stdin.close).start()
        descriptor = lock_file(path, within=60)
    assert descriptor is not None
    assert path.read_text() == f"{os.getpid()}\n"
    with subprocess.Popen([sys.executable, "-c", WAIT, str(path)], stdout=subprocess.PIPE) as patient:
        assert patient.stdout is not None
        patient.stdout.readline()
        assert path.read_text() == f"{os.getpid()}\n"
        os.close(descriptor)
    assert patient.returncode == 0
    assert path.read_text() == f"{patient.pid}\n"
