"""One child process: its start, the messages both ways, its output and its end. Used by `serving`, on the event loop.

The child leads a process group of its own, which is killed as a whole. Its output goes to the replica's, line by line, by a
thread of its own: a child that prints without end is slowed down by whoever reads the replica's log, and slows nobody.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from inlet.core.errors import InletError, Refused, Unavailable
from inlet.runtime.worker import strays
from inlet.runtime.worker.frames import Garbled, Message, pack, read
from inlet.runtime.worker.program import Program

LOADED_WITHIN_S = 1200.0
"""Two thirds of what an endpoint's start may take."""

_LONGEST_LINE = 8192  # bytes, with its mark; what is longer is cut into several. A keeper would cut it as well, without marks
_LONGEST_TEXT = 4000  # characters of what it says about itself
_GONE_WITHIN_S = 1.0  # for an end that was seen on the socket first
_WATCHED_EVERY_S = 1.0


class Ended(Exception):
    """The child is gone, or must go: `str()` says why, as the end of a sentence about it.

    `unread`: it surely had not read all of what it was told last.
    """

    def __init__(self, reason: str, *, unread: bool = False) -> None:
        super().__init__(reason)
        self.unread = unread


class Child:
    """A child that runs. Every way of using one ends with `end`."""

    def __init__(
        self,
        program: Program,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        starved: int,
    ) -> None:
        """`starved`: what `memory.starved()` was when it was started."""
        self._program, self._process, self._reader, self._writer = program, process, reader, writer
        self._hearing: asyncio.Task[Message] | None = None
        self._ending: asyncio.Task[str] | None = None
        self._overdone = False
        self._starved = starved
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def start(cls, program: Program) -> Child:
        """`Unavailable` when there is no process to be had."""
        ours, its = socket.socketpair()
        output, its_output = os.pipe()
        command = [*program.command, "--fd", str(its.fileno()), "--program", program.file]
        strays.adopt()
        starved = await asyncio.to_thread(_starved)
        try:
            with strays.spared() as spare:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=its_output,
                    stderr=its_output,
                    env=dict(program.env),
                    cwd=program.folder,
                    pass_fds=(its.fileno(),),
                    start_new_session=True,
                )
                spare(process.pid)
        except OSError as error:
            ours.close()
            os.close(output)
            raise Unavailable(f"the {program.name} cannot be started: {error.strerror}") from error
        finally:
            its.close()
            os.close(its_output)
        threading.Thread(
            target=_pass_on, args=(output, program.name), name=f"output of the {program.name}", daemon=True
        ).start()
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(program, process, reader, writer, starved)

    async def load(self, report: Callable[[str], None]) -> None:
        """Until it can answer. `Refused` when no restart helps; `Unavailable` with the reason otherwise."""
        program = self._program
        limits = {"data": program.limits.data, "privileges": program.limits.privileges}
        try:
            async with asyncio.timeout(LOADED_WITHIN_S):
                await self.send(Message({"do": "load", "settings": program.settings, "limits": limits}))
                while (said := (await self.hear()).head).get("kind") == "progress":
                    report(_text(said.get("text")))
        except TimeoutError:
            raise Unavailable(f"the {program.name} was not ready within {LOADED_WITHIN_S:.0f} s") from None
        except Ended as error:
            raise Unavailable(f"the {program.name} {error} before it was ready") from error
        if said.get("kind") != "ready":
            failure: type[InletError] = Refused if said.get("final") is True else Unavailable
            raise failure(f"the {program.name} did not start: {_text(said.get('error'))}")

    async def send(self, message: Message) -> None:
        """`Ended` when it cannot take it."""
        try:
            self._writer.writelines(pack(message))
            await self._writer.drain()
        except (
            OSError,
            RuntimeError,
        ):  # the second is uvloop's word for a connection that it has closed by now
            raise Ended(await self.end(), unread=True) from None

    def tell(self, message: Message) -> None:
        """The same without waiting for room; lost when it is gone."""
        with suppress(OSError, RuntimeError):
            self._writer.writelines(pack(message))

    async def hear(self) -> Message:
        """What it says next; `Ended` when that is nothing, or nothing that can be understood."""
        if self._hearing is None:
            self._hearing = asyncio.create_task(read(self._reader))
            self._hearing.add_done_callback(_looked_at)
        try:
            # Whoever stops listening in the middle of a message must not lose its beginning.
            await asyncio.wait({self._hearing})
            hearing, self._hearing = self._hearing, None
            return hearing.result()
        except Garbled as error:
            raise Ended(await self.end(f"sent {error}, and was ended")) from error
        except EOFError:
            raise Ended(await self.end()) from None
        except OSError:  # no mere end: the kernel says so when it threw away what was still to be read
            raise Ended(await self.end(), unread=True) from None

    async def gone(self) -> str:
        """Return when it is, with the reason."""
        await self._process.wait()
        return await self.end()

    async def end(self, reason: str | None = None) -> str:
        """Kill it with all that it started; the reason that came first, or how it ended by itself."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(reason))
        return await asyncio.shield(self._ending)

    async def _watch(self) -> None:
        watch = self._program.watch
        if watch is None:
            return
        while (reason := await asyncio.to_thread(watch.reason)) is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_WATCHED_EVERY_S)
        self._overdone = True
        await self.end(reason)

    async def _end(self, reason: str | None) -> str:
        how = await self._own_end() if reason is None else reason
        self.kill()
        await self._process.wait()
        strays.forget(self._process.pid)
        self._writer.close()
        await asyncio.to_thread(strays.end)
        self._watching.cancel()
        if self._overdone and self._program.watch is not None:
            await asyncio.to_thread(self._program.watch.clear)
        return how

    def kill(self) -> None:
        """At once, without waiting for it."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (
            ProcessLookupError,
            PermissionError,
        ):  # the latter when only a dead one is left of another user's
            return

    async def _own_end(self) -> str:
        try:
            async with asyncio.timeout(_GONE_WITHIN_S):
                code = await self._process.wait()
        except TimeoutError:
            return "closed its connection, and was ended"
        return _how(code, starved=await asyncio.to_thread(_starved) > self._starved)


def _looked_at(hearing: asyncio.Task[Message]) -> None:
    """Nobody may be left to ask how it went."""
    if not hearing.cancelled():
        hearing.exception()


def _text(said: Any) -> str:
    """One line of it: where it is passed on, another line would be another message."""
    return " ".join(str(said)[:_LONGEST_TEXT].split())


def _starved() -> int:
    from inlet.runtime import memory  # whose imports no start needs

    return memory.starved()


def _how(code: int, *, starved: bool) -> str:
    """In words; what ran it may have turned a signal into a number above 128.

    `starved`: meanwhile the kernel has killed a process of this replica for want of memory.
    """
    number = -code if code < 0 else code - 128 if code > 128 else 0
    if number == signal.SIGKILL and starved:
        return "was killed, most likely for want of memory: choose a larger instance"
    if number == signal.SIGKILL:
        return "was killed (signal 9)"
    if number in set(signal.Signals):
        return f"was ended by {signal.Signals(number).name}"
    return f"ended with code {code}"


def _pass_on(output: int, name: str) -> None:
    """Each line of what can be read there, with the name in front, until nobody can write there any more."""
    mark = f"{name} | ".encode()
    longest = _LONGEST_LINE - len(mark)
    rest = b""
    with os.fdopen(output, "rb", buffering=0) as pipe:
        while piece := pipe.read(65_536):
            *lines, rest = (rest + piece).split(b"\n")
            *cut, rest = _cut(rest, longest)
            whole = [part for line in lines for part in _cut(line, longest)]
            _write(b"".join(_marked(mark, part) for part in (*whole, *cut)))
        if rest:
            _write(_marked(mark, rest))


def _cut(line: bytes, longest: int) -> list[bytes]:
    """At least one part, none longer than that."""
    return [line[at : at + longest] for at in range(0, max(1, len(line)), longest)]


def _marked(mark: bytes, line: bytes) -> bytes:
    """Of one that was rewritten with carriage returns (progress bars) the last state: a keeper would drop the mark with the rest."""
    return mark + line.rstrip(b"\r").rpartition(b"\r")[2] + b"\n"


def _write(content: bytes) -> None:
    while content:
        content = content[os.write(sys.stderr.fileno(), content) :]
