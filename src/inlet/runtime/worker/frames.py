"""Messages between a replica and its child: a length, a head in JSON, and bytes. Used by `process`; `child` has its own.

A frame is four bytes (the head's length, big endian), the head, and the blobs whose sizes stand in the head's `blobs`.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

MOST_HEAD_BYTES = 16_000_000
MOST_BYTES = 256_000_000  # of all blobs of one frame
MOST_BLOBS = 100_000
_LENGTH = struct.Struct("!I")


class Garbled(Exception):
    """What came is no frame, or too large a one."""


@dataclass(frozen=True, slots=True)
class Message:
    """JSON values, and bytes beside them."""

    head: Mapping[str, Any]
    blobs: Sequence[bytes] = ()


def pack(message: Message) -> list[bytes]:
    """The frame, in pieces."""
    head = orjson.dumps({**message.head, "blobs": [len(blob) for blob in message.blobs]})
    return [_LENGTH.pack(len(head)), head, *message.blobs]


async def read(reader: asyncio.StreamReader) -> Message:
    """The next one; `Garbled`, or `EOFError` when nothing comes any more."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MOST_HEAD_BYTES:
        raise Garbled(f"a head of {length} bytes")
    try:
        head = orjson.loads(await reader.readexactly(length))
    except ValueError as error:
        raise Garbled("a head that is not JSON") from error
    sizes = head.pop("blobs", None) if isinstance(head, dict) else None
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise Garbled("a head without the sizes of its blobs")
    if len(sizes) > MOST_BLOBS:
        raise Garbled(f"{len(sizes)} blobs in one message, more than {MOST_BLOBS}")
    if sum(sizes) > MOST_BYTES:
        raise Garbled(f"{sum(sizes)} bytes in one message, more than {MOST_BYTES}")
    return Message(head, [await reader.readexactly(size) for size in sizes])
