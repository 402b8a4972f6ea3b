"""One `GET /health` over a replica's socket. Called by `replica.py`; never waits longer than told.

`CannotAsk` when this process could not even ask: nothing is known then, and nothing may be concluded.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import re
from dataclasses import dataclass

# HTTP/1.0: the answer cannot be chunked, and ends with the connection.
_REQUEST = b"GET /health HTTP/1.0\r\nHost: replica\r\n\r\n"
_LARGEST_ANSWER = 16_384
_OUR_OWN = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


@dataclass(frozen=True, slots=True)
class Health:
    """`status` 0: nothing answered, or not HTTP; not `listening`: nobody is there who could.

    `state` and `error` are what a replica that is not ready says.
    """

    status: int
    state: str = ""
    error: str = ""
    listening: bool = True


class CannotAsk(OSError):
    """Of this process's own making: too many open files, no memory."""


SILENT = Health(0)
ABSENT = Health(0, listening=False)


async def probe(socket: str, limit: float) -> Health:
    """Ask once; `limit` in seconds covers connecting and the whole answer."""
    try:
        async with asyncio.timeout(limit):
            return await _ask(socket)
    except (FileNotFoundError, ConnectionRefusedError):
        return ABSENT
    except OSError as error:  # a TimeoutError too
        if error.errno in _OUR_OWN:
            raise CannotAsk(error.errno, error.strerror) from error
        return SILENT


async def _ask(socket: str) -> Health:
    reader, writer = await asyncio.open_unix_connection(socket, limit=_LARGEST_ANSWER)
    try:
        writer.write(_REQUEST)
        answer = b""
        while len(answer) < _LARGEST_ANSWER and (data := await reader.read(_LARGEST_ANSWER)):
            answer += data
        return _parse(answer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _parse(answer: bytes) -> Health:
    head, _, body = answer.partition(b"\r\n\r\n")
    parts = head.split(maxsplit=2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not re.fullmatch(rb"[1-5][0-9]{2}", parts[1]):
        return SILENT
    status = int(parts[1])
    if status == 200:
        return Health(status)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # whatever a replica says must not end the probing
        return Health(status)
    if not isinstance(document, dict):
        return Health(status)
    return Health(status, str(document.get("state", "")), str(document.get("error", ""))[:500])
