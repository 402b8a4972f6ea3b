"""A replica that costs next to nothing, on a Unix socket: `python -m tests.soak.echo SOCKET`.

It answers with the request's body, unless that body tells it to fail: then it does so in one of the ways in which replicas fail.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

CRASH = b"crash"  # closes without an answer
CUT = b"cut"  # closes within its answer's head
GARBAGE = b"garbage"  # answers something that is not HTTP
ERROR = b"error"  # answers 500


async def serve(path: str) -> None:
    """Until the process is ended."""
    async with await asyncio.start_unix_server(_visit, path) as server:
        await server.serve_forever()


async def _visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            if body == CRASH:
                return
            if body in (CUT, GARBAGE):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-" if body == CUT else b"\x00\x01 hello\r\n\r\n")
                return
            status = b"500 Internal Server Error" if body == ERROR else b"200 OK"
            writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the router went away, with or without a request under way
    finally:
        writer.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
