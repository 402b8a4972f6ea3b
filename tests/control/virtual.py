"""An event loop whose time jumps: whenever nobody has anything to do, it is at once as late as the next timer wants it.

For tests of what takes seconds or minutes. What threads do (a database driver) takes real time, and none of the loop's:
whoever calls them says so with `real_time`. For what is quick, such as a look at a file, each jump waits a moment.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

QUICK_S = 0.001
BUSY_S = 0.05


class _Selector(selectors.DefaultSelector):
    now, busy = 0.0, 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(5.0)
        if timeout <= 0:
            return super().select(0)
        ready = super().select(min(timeout, BUSY_S if self.busy else QUICK_S))
        if not ready and not self.busy:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    @contextmanager
    def real_time(self) -> Iterator[None]:
        """No time passes on this loop."""
        self._jumping.busy += 1
        try:
            yield
        finally:
            self._jumping.busy -= 1


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
