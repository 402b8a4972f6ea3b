"""Runs a module of Inlet in a process of its own and listens to it. Called by `artifact/worker`, `origins/exports` and `gguf/conversion`.

The process says how far it is in lines of JSON on its standard output, dies with this one, and is ended when it says nothing
for long: it hangs then. `cancel`, called by `serve`, ends all of them, because this process is about to end. Must never
decide what an end means: its callers do.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from inlet.core.errors import Unavailable
from inlet.process import PARENT_VARIABLE

LONGEST_SILENCE_S = 600.0
"""A third of what an endpoint's start may take: there must be time left for another way."""

_lock = threading.Lock()
_running: set[subprocess.Popen[bytes]] = set()
_cancelled = threading.Event()


class Cancelled(Exception):
    """The process was ended, or not even started, because this one is about to end."""


def run(
    name: str,
    module: str,
    flags: Sequence[str],
    hear: Callable[[Mapping[str, Any]], None],
    *,
    env: Mapping[str, str] | None = None,
    silence: float = LONGEST_SILENCE_S,
) -> int:
    """The exit code of `python -m module`; `hear` gets each of its lines. `env` adds to this process's environment.

    `Unavailable` after `silence` seconds without a line, with the `name` for people; `Cancelled`. The process is gone then.
    `OSError` when none can be started.
    """
    with _started([sys.executable, "-m", module, *flags], {**os.environ, **(env or {})}) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            for line in _lines(process.stdout, silence):
                hear(json.loads(line))
            code = process.wait(silence)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise Unavailable(f"{name} made no progress for {silence:g} s and was ended") from None
        finally:
            process.kill()
            with _lock:
                _running.discard(process)
    if _cancelled.is_set():
        raise Cancelled
    return code


def cancel() -> bool:
    """End all that run, and start none from now on. Whether any ran; each `run` then ends at once."""
    with _lock:
        _cancelled.set()
        for process in _running:
            process.kill()
        return bool(_running)


def _started(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with _lock:
        if _cancelled.is_set():
            raise Cancelled
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**env, PARENT_VARIABLE: str(os.getpid())},
        )
        _running.add(process)
        return process


def _lines(stream: IO[bytes], silence: float) -> Iterator[bytes]:
    """Whole lines as they come; `TimeoutError` when none does for that many seconds."""
    # Not `select`, which cannot look at a descriptor above 1,023, nor a thread, for which there may be no memory.
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    rest = b""
    while poll.poll(silence * 1000):
        piece = os.read(stream.fileno(), 65_536)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    raise TimeoutError
