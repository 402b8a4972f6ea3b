"""Keeps one child process of `inlet up` running: started, restarted with back-off, stopped in order.

Used by `cli/up.py` for router and control. Knows nothing of what the child does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from inlet.core.errors import Refused
from inlet.process import EX_CONFIG

FIRST_BACK_OFF_S = 0.05
LAST_BACK_OFF_S = 5.0
STABLE_AFTER_S = 10.0  # a child that lived so long is restarted at once
LARGEST_LOG_BYTES = 20_000_000


class Child:
    """One process, by name. Its standard error is appended to `log`, which is put aside when it has grown large."""

    def __init__(
        self,
        name: str,
        module: str,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        fds: Sequence[int],
    ) -> None:
        self.name, self._log, self._env, self._fds = name, log, dict(env), tuple(fds)
        self._command = [sys.executable, "-m", module, *args]
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def hopeless(self) -> bool:
        """Whether it said that no restart helps."""
        return self._process is not None and self._process.returncode == EX_CONFIG

    async def keep_running(self) -> None:
        """Until `stop`; `Refused` with the child's own words when it says that no restart helps."""
        back_off = FIRST_BACK_OFF_S
        while not self._stopping:
            started = time.monotonic()
            try:
                self._process = await self._start()
            except OSError as error:  # no more processes, no more files, a home that is read-only for now
                sys.stderr.write(f"{self.name} cannot be started now ({error.strerror}); trying again\n")
                back_off = min(2 * back_off, LAST_BACK_OFF_S)
                await asyncio.sleep(back_off)
                continue
            code = await self._process.wait()
            if self._stopping:
                return
            if code == EX_CONFIG:
                raise Refused(self._last_line() or f"{self.name} cannot start; see {self._log}")
            back_off = (
                FIRST_BACK_OFF_S
                if time.monotonic() - started > STABLE_AFTER_S
                else min(2 * back_off, LAST_BACK_OFF_S)
            )
            await asyncio.sleep(back_off)

    async def stop(self, *, within: float, ask: bool = True) -> None:
        """Ask it to end (unless somebody else already did), and end it by force after `within` seconds."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        if ask:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        if self._log.exists() and self._log.stat().st_size > LARGEST_LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        with self._log.open("ab") as log:
            # A session of its own: the terminal's Ctrl-C is for the parent, which ends its children in order.
            return await asyncio.create_subprocess_exec(
                *self._command, env=self._env, stderr=log, pass_fds=self._fds, start_new_session=True
            )

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""
