"""An event loop whose time jumps: whenever nobody has anything to do, it is at once as late as the next timer wants it.

For tests of what takes seconds or minutes. What threads do takes real time, and none of the loop's: those of the loop's
executor are known, whoever else has some (a database driver) says so with `real_time`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

BUSY_S = 0.05


class _Selector(selectors.DefaultSelector):
    now, busy = 0.0, 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(5.0)
        if timeout <= 0:
            return super().select(0)
        ready = super().select(min(timeout, BUSY_S) if self.busy else 0)
        if not ready and not self.busy:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._jumping.busy += 1
        future.add_done_callback(self._arrived)
        return future

    def _arrived(self, _: asyncio.Future[Any]) -> None:
        self._jumping.busy -= 1

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
