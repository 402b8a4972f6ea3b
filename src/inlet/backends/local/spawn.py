"""Starts keepers, and hands a plan over to one. Called by `replica.py` (with a plan) and `pool.py` (without one yet)."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from inlet.backends.local import keeper


@contextmanager
def packed(plan: keeper.Plan) -> Iterator[int]:
    """The plan as an open file, to be read from its beginning.

    It is in anonymous memory: it holds secrets, and no pipe is so large.
    """
    memory = os.memfd_create("plan", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(json.dumps(vars(plan)).encode())
        os.lseek(memory, 0, os.SEEK_SET)
        yield memory
    finally:
        os.close(memory)


def spawn(arguments: Sequence[str], env: Mapping[str, str], *, stdin: int, errors: str) -> tuple[int, int]:
    """Start a keeper; its process id, and a pidfd to watch it by. `errors` is the file that gets what it complains about.

    OSError if it cannot be started or watched; then it does not run.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    pid = os.posix_spawn(
        sys.executable,
        keeper.keeper_command(*arguments),
        env,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, errors, flags, 0o600),
        ],
        setsigmask=[],
    )
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
