"""One process of a program: its start, its output, its health, its end. Owned by `supervisor`.

The process leads a process group of its own and dies with this one. Must never decide whether there is another run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

import httpx

from inlet.core.errors import InletError, Refused
from inlet.process import EX_CONFIG, PARENT_VARIABLE
from inlet.runtime.foreign.launcher import NOT_FOUND, NOT_STARTED
from inlet.runtime.foreign.program import Address, Program
from inlet.runtime.worker import strays

_LONGEST_LINE = 8_192  # bytes; what is longer comes in pieces
_LAST_WORDS = 3  # lines
_LONGEST_WORD = 300  # characters of each
_PROBE_TIMEOUT_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # between two looks at whether it is healthy
_OUTPUT_LATE_S = (
    1.0  # after the end of the process; a process of its own that lives on may keep the pipe open
)


class Ended(InletError):
    """The program ended on its own; the message has its last words."""

    status = 502


class Run:
    """A program that was started. `transport` opens a connection per request: a kept one may be closed just as it is used."""

    def __init__(self, program: Program, address: Address, process: asyncio.subprocess.Process) -> None:
        self._program, self._process = program, process
        self._words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._reading = asyncio.create_task(self._read())
        self.origin = f"http://127.0.0.1:{address.port}" if address.port else "http://localhost"
        self.transport = httpx.AsyncHTTPTransport(
            uds=None if address.socket is None else str(address.socket),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    @classmethod
    async def start(cls, program: Program, private: Path) -> Run:
        """A process at a new address."""
        address = program.address(private)
        if address.socket is not None:
            address.socket.unlink(missing_ok=True)
        with strays.spared() as spare:  # workers beside it leave processes behind, and it is none of these
            process = await asyncio.create_subprocess_exec(
                # -P: it starts in the replica's folder, and must import nothing from there.
                sys.executable, "-P", "-m", "inlet.runtime.foreign.launcher", *program.command(address),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env={**program.environment(address), PARENT_VARIABLE: str(os.getpid())},
            )  # fmt: skip
            spare(process.pid)
        return cls(program, address, process)

    async def healthy(self, tell: Callable[[str], None]) -> None:
        """Return once its health route answers 2xx. `Ended`, or `Refused` when no restart helps, if it ends before."""
        end = asyncio.create_task(self._process.wait())
        pause = _FIRST_PAUSE_S
        try:
            told = ""
            while ailment := await self.ailment():
                if ailment != told:
                    tell(
                        f"{self._program.name} was started; its health route {self._program.health} {ailment}"
                    )
                    told = ailment
                await asyncio.wait({end}, timeout=pause)
                if end.done():
                    raise await self.last_words()
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        finally:
            end.cancel()

    async def ailment(self) -> str | None:
        """What its health route does now instead of answering 2xx, in words; None when it does that."""
        request = httpx.Request(
            "GET",
            self.origin + self._program.health,
            extensions={"timeout": httpx.Timeout(_PROBE_TIMEOUT_S).as_dict()},
        )
        try:
            response = await self.transport.handle_async_request(request)
            await response.aclose()
        except httpx.ConnectError:
            return "is not there yet"
        except httpx.TransportError as error:
            return f"does not answer ({type(error).__name__})"
        return None if response.is_success else f"answers {response.status_code}"

    async def last_words(self) -> InletError:
        """Why it ended, once it has."""
        code = await self._process.wait()
        await asyncio.wait({self._reading}, timeout=_OUTPUT_LATE_S)
        if code == NOT_FOUND:
            return self._program.missing()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        said = f"; its last words: {' / '.join(self._words)}" if self._words else " and said nothing"
        reason = f"{self._program.name} {how}{said}"
        return Refused(reason) if code in (EX_CONFIG, NOT_STARTED) else Ended(reason)

    def kill(self) -> None:
        """End it, and whatever it started in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        strays.forget(self._process.pid)

    async def _read(self) -> None:
        """Pass on its output, line by line, as it is."""
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - a pipe was asked for
        rest = b""
        while piece := await stream.read(_LONGEST_LINE):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) >= _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._hear(line)
        if rest:
            self._hear(rest)

    def _hear(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        sys.stderr.write(f"{text}\n")
        if text.strip():
            self._words.append(text.strip()[:_LONGEST_WORD])
