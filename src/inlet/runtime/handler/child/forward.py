"""`python -P forward.py SOCKET PORT COMMAND…`: runs a command in a sandbox whose only way out is a Unix socket.

The sandbox's own loopback leads to the proxy behind that socket (`egress`), because HTTP clients know how to use a proxy at an
address and none knows how to use one at a path. Ends as the command does. The proxy copies by the same function.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys


async def run(path: str, port: int, command: list[str]) -> int:
    """The command's exit code; that of a shell if a signal ended it."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_unix_connection(path)
            await asyncio.gather(copied(reader, far_writer), copied(far_reader, writer))
        writer.close()

    async with await asyncio.start_server(forward, "127.0.0.1", port):
        process = await asyncio.create_subprocess_exec(*command, close_fds=False)
        code = await process.wait()
    return code if code >= 0 else 128 - code


async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes, then the end."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


if __name__ == "__main__":
    # At once: connections that are still open are nobody's any more.
    os._exit(asyncio.run(run(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
