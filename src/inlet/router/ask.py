"""A small request of the router's own to control, over one of control's sockets: routes, signals, readiness.

Called by `table.py`, `signals.py` and `local.py`; uses the same connections as forwarded requests do. Must never carry
anything that a client sent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from inlet.router.response import ResponseHead
from inlet.router.upstream import Peer


class NoAnswer(OSError):
    """Control is away, or did not answer as expected."""


@dataclass(slots=True)
class _Asked:
    """Collects one answer (upstream.Receiver)."""

    done: asyncio.Future[tuple[int, bytes]]
    status: int = 0
    body: bytes = b""
    was_closing: bool = False

    def answered(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        self.status = head.status
        self.more(body, done=done)

    def more(self, body: bytes, *, done: bool) -> None:
        self.body += body
        if done and not self.done.done():
            self.done.set_result((self.status, self.body))

    def lost(self, reason: str, *, untouched: bool, reused: bool) -> None:
        self.was_closing = untouched and reused
        if not self.done.done():
            self.done.set_exception(NoAnswer(reason))

    def upstream_full(self, full: bool) -> None:
        """The whole request was handed over already."""


async def ask(
    peer: Peer, method: bytes, target: bytes, *, within: float, body: bytes | None = None
) -> tuple[int, bytes]:
    """Status and body of the answer; OSError when there is none within so many seconds, or it is a server's error."""
    head = b"%b %b HTTP/1.1\r\nhost: inlet\r\n" % (method, target)
    if body is not None:
        head += b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    data = head + b"\r\n" + (body or b"")
    async with asyncio.timeout(within):
        connection = peer.take()
        while True:
            connection = connection or await peer.connect()
            asked = _Asked(asyncio.get_running_loop().create_future())
            connection.begin(asked, method, data, complete=True)
            try:
                status, answer = await asked.done
            except NoAnswer:
                if not asked.was_closing:
                    raise
                connection = None  # it had been closed while it was idle: a new one will tell
                continue
            except asyncio.CancelledError:
                connection.close()
                raise
            if status >= 400:
                raise NoAnswer(f"control answered {status}")
            return status, answer
