"""Spare processes: keepers whose child has imported what every replica imports, and waits to be told which one it is.

Owned by `backend.py`; `replica.py` takes from it, and starts a keeper by itself when it gets none. A spare ends with this
process, whose end it sees on its socket: it is on no record and is never adopted. Must never hand out a spare that would
differ from a process started now: one of older code, or with another environment where that is read at the start.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import structlog

import inlet
from inlet.backends.local import keeper
from inlet.backends.local.command import SPARE, can_be_spare, spare_environment
from inlet.backends.local.spawn import packed, spawn

ROOM = 2**30  # bytes of memory that must be free: where they are not, replicas need what a spare would hold
LASTED_S = 60.0  # one that was there for so long has started well, however it ends
_LONGEST_PAUSE_S = 600.0
_MOST_DOUBLINGS = 30  # where spares never work this counts for weeks, and floats end at 1023 doublings
_log = structlog.get_logger(__name__)

Stamp = tuple[int, ...]


@dataclass(slots=True, eq=False)
class _Spare:
    """`pid` is its keeper's; `orders` our end of its standard input; `stamp` that of the code which it imports;
    `started` when it was, on the monotonic clock.

    One that is not `usable` was told to end and has not done so yet.
    """

    pid: int
    pidfd: int
    orders: socket.socket
    env: dict[str, str]
    stamp: Stamp
    started: float
    usable: bool = True

    def let_go(self) -> None:
        """Look no longer, and leave the pidfd to the caller. It ends, unless it was sent a plan."""
        asyncio.get_running_loop().remove_reader(self.pidfd)
        self.orders.close()

    def close(self) -> None:
        """Look no longer. It has been told to end, or has ended."""
        self.let_go()
        os.close(self.pidfd)

    def kill(self) -> None:
        self.usable = False
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def sent(self, plan: keeper.Plan) -> bool:
        """Send the plan; False if it has ended meanwhile."""
        try:
            with packed(plan) as memory:
                socket.send_fds(self.orders, [b"\0"], [memory])
        except OSError:
            return False
        return True


class Pool:
    """Keeps `size` spares. A missing one is started `delay` seconds later, so that what needs it now goes first.

    `notify` is the socket that they report to once they are replicas; `memory` what there is here, in bytes.
    """

    def __init__(self, size: int, *, notify: Path, memory: int, delay: float) -> None:
        """Nothing is started before `open`."""
        self._size = size
        self._notify = notify
        self._memory = memory
        self._delay = delay
        self._spares: list[_Spare] = []
        self._failures = 0  # in a row: ended by themselves, or could not be started
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        self._fill_later(self._delay)

    async def close(self) -> None:
        """End all spares, and return when they have ended."""
        if self._timer is not None:
            self._timer.cancel()
        spares, self._spares = self._spares, []
        for spare in spares:
            spare.kill()
            spare.close()
            await asyncio.to_thread(os.waitpid, spare.pid, 0)

    def take(self, plan: keeper.Plan) -> tuple[int, int] | None:
        """Let a spare be this replica: its keeper's process id and pidfd; None if there is none that can be."""
        spare = next((each for each in self._spares if self._fits(each, plan)), None)
        if spare is None:
            return None
        if spare.stamp != _stamp() or not spare.sent(plan):
            spare.kill()
            return None
        self._spares.remove(spare)
        spare.let_go()
        self._failures = 0
        self._fill_later(self._delay)
        return spare.pid, spare.pidfd

    def _fits(self, spare: _Spare, plan: keeper.Plan) -> bool:
        return spare.usable and can_be_spare(plan.command, plan.env, spare.env)

    def _fill_later(self, wait: float) -> None:
        if self._timer is None and len(self._spares) < self._size:
            self._timer = asyncio.get_running_loop().call_later(wait, self._fill)

    def _fill(self) -> None:
        """Start one spare; the next one, if one is still missing, in a while."""
        self._timer = None
        if min(psutil.virtual_memory().available, self._memory) < ROOM:
            self._fill_later(_LONGEST_PAUSE_S)
            return
        try:
            self._spares.append(self._start())
        except OSError as error:
            self._failed(str(error))
        self._fill_later(self._delay)

    def _start(self) -> _Spare:
        env, stamp = spare_environment(self._notify), _stamp()
        orders, theirs = socket.socketpair()
        try:
            pid, pidfd = spawn([keeper.SPARE, *SPARE], env, stdin=theirs.fileno(), errors=os.devnull)
        except OSError:
            orders.close()
            raise
        finally:
            theirs.close()
        spare = _Spare(pid, pidfd, orders, env, stamp, started=time.monotonic())
        asyncio.get_running_loop().add_reader(pidfd, self._ended, spare)
        return spare

    def _ended(self, spare: _Spare) -> None:
        self._spares.remove(spare)
        spare.close()
        _, status = os.waitpid(spare.pid, 0)
        if time.monotonic() - spare.started >= LASTED_S:
            self._failures = 0
        if spare.usable:
            self._failed(f"it ended with {os.waitstatus_to_exitcode(status)}")
        self._fill_later(self._delay)

    def _failed(self, reason: str) -> None:
        self._failures += 1
        wait = min(_LONGEST_PAUSE_S, self._delay * 2 ** min(self._failures, _MOST_DOUBLINGS))
        _log.warning("spare process failed", reason=reason, retry_in=wait)
        self._fill_later(wait)


def _stamp() -> Stamp:
    """Another one after a change of the code that a spare imports: the interpreter, what is installed, or our own.

    Never fails: a file that goes while we look is a change as well, and no reason to start no replica.
    """
    installed = (path for path in map(Path, sys.path) if path.name in ("site-packages", "dist-packages"))
    watched = (Path(sys.executable), *installed, *Path(inlet.__file__).parent.rglob("*.py"))
    return tuple(_changed_at(path) for path in watched)


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
