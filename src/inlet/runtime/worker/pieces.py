"""The pieces of a stream that its reader has not taken yet: few, and not many bytes of them. Used by `serving`, on the event loop.

One puts, one takes. Whoever puts asks for room before it reads the next piece from the child, so that what a child makes faster
than it is read waits in the child.
"""

from __future__ import annotations

import asyncio
from collections import deque

from inlet.core.errors import InletError
from inlet.runtime.worker.frames import Message

MOST_PIECES = 4
MOST_BYTES = 4_000_000
"""With so many waiting another piece has no room; below that any piece has, however large it is."""


class Pieces:
    """Of one stream, in order; `None` stands behind the last, an error for the rest that will not come."""

    def __init__(self) -> None:
        self._waiting: deque[Message | InletError | None] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether another has no room."""
        return len(self._waiting) >= MOST_PIECES or self._bytes >= MOST_BYTES

    async def room(self) -> None:
        """Return when the next may be put."""
        while self.full:
            await self._change()

    def put(self, piece: Message | InletError | None) -> None:
        """At once, whether there is room or not."""
        self._waiting.append(piece)
        self._bytes += _size(piece)
        self._changed.set()

    async def take(self) -> Message | InletError | None:
        """The next, when it is there."""
        while not self._waiting:
            await self._change()
        piece = self._waiting.popleft()
        self._bytes -= _size(piece)
        self._changed.set()
        return piece

    def drop(self) -> None:
        """Nobody wants what waits any more."""
        self._waiting.clear()
        self._bytes = 0
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _size(piece: Message | InletError | None) -> int:
    return sum(map(len, piece.blobs)) if isinstance(piece, Message) else 0
