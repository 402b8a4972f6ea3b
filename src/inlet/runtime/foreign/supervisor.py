"""Keeps a program up: starts it, watches it, and starts it again, with pauses, when it ends or hangs.

Owned by `upstream`. Everything runs on the event loop. The first start is the replica's own and fails like one. Later ones are
tried again a few times; a program that does not come up any more, or never stays up, is given up, and the replica should end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from inlet.core.errors import InletError, Refused, Unavailable
from inlet.runtime.foreign.program import Program
from inlet.runtime.foreign.run import Run
from inlet.runtime.scratch import Scratch
from inlet.runtime.worker.process import LOADED_WITHIN_S

_FIRST_PAUSE_S = 0.5  # doubles
_MOST_FAILURES = 5  # in a row; as many as a worker's
_LASTED_S = 60.0  # a run that was up for so long was a good one
_PROBE_EVERY_S = 5.0
_SILENT = 6  # probes in a row without a good answer, and it hangs
_log = logging.getLogger(__name__)


class Supervisor:
    """One program. `trouble`: why it is away, None while it answers."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._private: Scratch | None = None
        self._up: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        self._run: Run | None = None
        self._watching: asyncio.Task[str] | None = None
        self.trouble: str | None = None

    async def start(self, tell: Callable[[str], None]) -> None:
        """Return when it answers; fails as `Run.healthy` does, and nothing is left of it then.

        `tell` hears how far the start is, and later that it is away and that it is back.
        """
        try:
            run = await self._start(tell)
        except BaseException:
            self.close()
            raise
        self._watching = asyncio.create_task(self._watch(run, tell))

    async def run(self, until: float) -> Run:
        """The process that answers now; waits for one until that time of the loop, then `Unavailable`."""
        try:
            async with asyncio.timeout_at(until):
                return await asyncio.shield(self._up)
        except TimeoutError:
            raise Unavailable(
                f"{self._program.name} ended and is being started again; try again later"
            ) from None

    async def given_up(self) -> str:
        """Return when it is not started again any more, with the reason. Once it was started."""
        assert self._watching is not None  # noqa: S101 - `start` has begun that
        return await asyncio.shield(self._watching)

    def close(self) -> None:
        """End it for good."""
        if self._watching is not None:
            self._watching.cancel()
        if self._run is not None:
            self._run.kill()
        if self._private is not None:
            self._private.close()

    async def _start(self, tell: Callable[[str], None]) -> Run:
        # Another folder each time: what the one before has in it, or that somebody removed it, must not fail this run as well.
        if self._private is not None:
            self._private.close()
        self._private = Scratch("run")
        self._run = run = await Run.start(self._program, self._private.path)
        try:
            await run.healthy(tell)
        except BaseException:
            run.kill()
            raise
        self.trouble = None
        self._up.set_result(run)
        return run

    async def _watch(self, run: Run, tell: Callable[[str], None]) -> str:
        """Have a run that answers, for as long as one can be had; why none can any more."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            begin = loop.time()
            reason = await self._end(run)
            self._up = loop.create_future()
            run.kill()  # what it started may still be there
            if loop.time() - begin >= _LASTED_S:
                failures = 0
            while not self._up.done():
                failures += 1
                self.trouble = str(reason)
                if isinstance(reason, Refused):
                    return self._give_up(f"{reason}; it says that no restart helps")
                if failures == _MOST_FAILURES:
                    return self._give_up(f"{reason}; that was failure {failures} in a row")
                pause = _FIRST_PAUSE_S * 2 ** (failures - 1)
                _log.error("%s; starting it again in %.1f s", reason, pause)
                tell(f"{reason}; starting it again")
                await asyncio.sleep(pause)
                try:
                    run = await self._started_again(tell)
                except (InletError, OSError) as error:
                    reason = error
            _log.info("%s is back", self._program.name)
            tell(f"{self._program.name} is back")

    async def _started_again(self, tell: Callable[[str], None]) -> Run:
        try:
            async with asyncio.timeout(LOADED_WITHIN_S):
                return await self._start(tell)
        except TimeoutError:
            raise Unavailable(f"{self._program.name} was not ready within {LOADED_WITHIN_S:.0f} s") from None

    def _give_up(self, reason: str) -> str:
        self._up.set_exception(Unavailable(reason))
        self._up.exception()  # nobody may be waiting
        return reason

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
