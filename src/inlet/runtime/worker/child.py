"""The child's side of a worker: `python -P child.py --fd N --program FILE`, started by `process` in the replica.

Runs in whatever environment the program needs, so it imports the standard library only. `FILE` is a Python file with

    load(settings: dict, report: Callable[[str], None]) -> answer
    answer(head: dict, blobs: list[bytes]) -> reply

A reply is a `(head, blobs)` pair, a generator of such pairs, or something to await that gives one of these. What `load`
raises ends the process; with an attribute `final` that is true no other start would help. What `answer` raises is the
failure of that request, with the attribute `status` as its HTTP status if it has one.

One request at a time. Told that its caller has gone, it stops a generator at its next piece and cancels what is awaited; a
call that is running cannot be interrupted, and goes on to its end. The process ends when the replica does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import importlib.util
import inspect
import json
import os
import queue
import resource
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import AsyncGenerator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import Any, NoReturn

_LENGTH = struct.Struct("!I")
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_LONGEST_TEXT = 4000  # characters of an error that travel; the log has all


class Line:
    """The socket to the replica. Only one thread sends, and only one receives."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # processes that the program starts have no business here
        self._socket = socket.socket(fileno=descriptor)

    def send(self, kind: str, head: dict[str, Any], blobs: list[bytes] | tuple[()] = ()) -> None:
        sizes = [memoryview(blob).nbytes for blob in blobs]  # what is no bytes fails before anything is sent
        text = json.dumps({**head, "kind": kind, "blobs": sizes}).encode()
        self._socket.sendall(_LENGTH.pack(len(text)) + text)
        for blob in blobs:
            self._socket.sendall(blob)

    def receive(self) -> tuple[dict[str, Any], list[bytes]] | None:
        """None when the replica has gone."""
        prefix = self._exactly(_LENGTH.size)
        text = None if prefix is None else self._exactly(*_LENGTH.unpack(prefix))
        if text is None:
            return None
        head = json.loads(text)
        blobs = [self._exactly(size) for size in head.pop("blobs")]
        return head, [blob for blob in blobs if blob is not None]

    def _exactly(self, size: int) -> bytes | None:
        content = bytearray()
        while len(content) < size:
            try:
                piece = self._socket.recv(min(size - len(content), 1 << 20))
            except OSError:
                return None
            if not piece:
                return None
            content += piece
        return bytes(content)


class Worker:
    """Answers what comes over the line with the program's function."""

    def __init__(self, line: Line, answer: Callable[[dict[str, Any], list[bytes]], Any]) -> None:
        self._line, self._answer = line, answer
        self._requests: queue.SimpleQueue[tuple[dict[str, Any], list[bytes]]] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._cancelled = threading.Event()
        self._awaited: asyncio.Task[Any] | None = None
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    def run(self) -> NoReturn:
        while True:
            head, blobs = self._requests.get()
            self._cancelled.clear()
            try:
                self._reply(head, blobs)
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to this request
                if self._cancelled.is_set():
                    self._line.send("end", {})
                else:
                    self._fail(error)

    def _listen(self) -> None:
        while (frame := self._line.receive()) is not None:
            if frame[0].get("do") == "cancel":
                self._cancelled.set()
                self._loop.call_soon_threadsafe(self._cancel)
            else:
                self._requests.put(frame)
        os._exit(0)

    def _reply(self, head: dict[str, Any], blobs: list[bytes]) -> None:
        reply = self._answer(head, blobs)
        while inspect.isawaitable(reply):
            reply = self._awaiting(reply)
        if isinstance(reply, AsyncGenerator):
            reply = self._step_by_step(reply)
        if isinstance(reply, tuple):
            self._line.send("reply", *reply)
            return
        for piece in reply:
            if self._cancelled.is_set():
                break
            self._line.send("piece", *piece)
        reply.close()
        self._line.send("end", {})

    def _step_by_step(self, pieces: AsyncGenerator[Any, None]) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._awaiting(anext(pieces))
                except StopAsyncIteration:
                    return
        finally:
            self._loop.run_until_complete(pieces.aclose())

    def _awaiting(self, awaitable: Awaitable[Any]) -> Any:
        """What it gives; it is cancelled when the caller has gone."""
        self._awaited = asyncio.ensure_future(_outcome(awaitable), loop=self._loop)
        try:
            if self._cancelled.is_set():
                self._awaited.cancel()
            there, value = self._loop.run_until_complete(self._awaited)
        finally:
            self._awaited = None
        if not there:
            raise StopAsyncIteration
        return value

    def _cancel(self) -> None:
        if self._awaited is not None and self._cancelled.is_set():  # else it came too late
            self._awaited.cancel()

    def _fail(self, error: BaseException) -> None:
        status, text = getattr(error, "status", None), str(error)[:_LONGEST_TEXT]
        if isinstance(error, MemoryError):
            status, text = 500, "out of memory: choose a larger instance, or send less in one request"
        elif not isinstance(status, int):
            traceback.print_exception(error)
            status, text = 500, f"the program failed: {type(error).__name__}: {text}"
        self._line.send("error", {"status": status, "error": text})


async def _outcome(awaitable: Awaitable[Any]) -> tuple[bool, Any]:
    """Whether it gives something, and what; the end of a generator is what no task can raise."""
    try:
        return True, await awaitable
    except StopAsyncIteration:
        return False, None


def confine(limits: dict[str, Any]) -> None:
    """Take on limits, and the wish to die with the parent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits["data"] is not None:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        data = limits["data"] if most == resource.RLIM_INFINITY else min(limits["data"], most)
        resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if not limits["privileges"]:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def main() -> None:
    """Load the program, then answer until the replica has gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--program", required=True)
    given = parser.parse_args()
    line = Line(given.fd)
    order = line.receive()
    if order is None:
        return
    confine(order[0]["limits"])
    try:
        program = _module("inlet_program", given.program)
        answer = program.load(order[0]["settings"], lambda text: line.send("progress", {"text": text}))
    except BaseException as error:  # noqa: BLE001 - whatever it is: the replica must hear of it
        text = "out of memory" if isinstance(error, MemoryError) else str(error) or type(error).__name__
        with contextlib.suppress(OSError):
            head = {"error": text[:_LONGEST_TEXT], "final": bool(getattr(error, "final", False))}
            line.send("failed", head)
        os._exit(1)
    line.send("ready", {})
    Worker(line, answer).run()


def _module(name: str, path: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
