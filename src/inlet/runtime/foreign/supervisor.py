"""Keeps a program up: starts it, watches it, and starts it again, with pauses, when it ends or hangs.

Owned by `upstream`. Everything runs on the event loop. The first start is the replica's own and fails like one; every
later one is tried again for as long as the replica lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from inlet.core.errors import InletError, Unavailable
from inlet.runtime.foreign.program import Program
from inlet.runtime.foreign.run import Run
from inlet.runtime.scratch import Scratch

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_LASTED_S = 60.0  # a run that was up for so long was a good one: the next pause is the first again
_PROBE_EVERY_S = 5.0
_SILENT = 6  # probes in a row without a good answer, and it hangs
_log = logging.getLogger(__name__)


class Supervisor:
    """One program. `tell` in `start` hears how far the start is."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._private = Scratch("run")
        self._up: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        self._run: Run | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self, tell: Callable[[str], None]) -> None:
        """Return when it answers; fails as `Run.healthy` does, and nothing is left of it then."""
        try:
            run = await self._start(tell)
        except BaseException:
            self.close()
            raise
        self._watching = asyncio.create_task(self._watch(run))

    async def run(self, until: float) -> Run:
        """The process that answers now; waits for one until that time of the loop, then `Unavailable`."""
        try:
            async with asyncio.timeout_at(until):
                return await asyncio.shield(self._up)
        except TimeoutError:
            raise Unavailable(
                f"{self._program.name} ended and is being started again; try again later"
            ) from None

    def close(self) -> None:
        """End it for good."""
        if self._watching is not None:
            self._watching.cancel()
        if self._run is not None:
            self._run.kill()
        self._private.close()

    async def _start(self, tell: Callable[[str], None]) -> Run:
        self._run = run = await Run.start(self._program, self._private.path)
        try:
            await run.healthy(tell)
        except BaseException:
            run.kill()
            raise
        self._up.set_result(run)
        return run

    async def _watch(self, run: Run) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_S
        while True:
            begin = loop.time()
            reason = await self._end(run)
            self._up = loop.create_future()
            run.kill()  # what it started may still be there
            if loop.time() - begin >= _LASTED_S:
                pause = _FIRST_PAUSE_S
            while not self._up.done():
                _log.error("%s; starting it again in %.1f s", reason, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                try:
                    run = await self._start(_log.info)
                except (InletError, OSError) as error:
                    reason = error
            _log.info("%s is back", self._program.name)

    async def _end(self, run: Run) -> Exception:
        """Why this run is over, once it is."""
        ending = asyncio.create_task(run.last_words())
        try:
            silent = 0
            while silent < _SILENT:
                done, _ = await asyncio.wait({ending}, timeout=_PROBE_EVERY_S)
                if done:
                    return ending.result()
                silent = silent + 1 if await run.ailment() else 0
            return Unavailable(f"{self._program.name} does not answer its health route any more")
        finally:
            ending.cancel()
