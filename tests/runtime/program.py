"""A server as somebody else might have written it, for the tests of `foreign`: `python program.py --port N | --socket PATH`.

It is healthy once the file `healthy` is in its folder, repeats what it is asked, and does what the path says. With a file
`refuses` it does not start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import uvicorn


def _is_there(name: str) -> bool:
    return Path(name).exists()


def _leave(name: str) -> None:
    Path(name).touch()


async def _come(name: str) -> None:
    while not _is_there(name):  # noqa: ASYNC110 - another process makes the file
        await asyncio.sleep(0.01)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)

    async def answer(status: int, content: bytes, *headers: tuple[bytes, bytes]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": content})

    path = scope["path"]
    if path == "/ready":
        await answer(200 if _is_there("healthy") else 503, b"")
    elif path == "/pieces":
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        for piece in body.splitlines(keepends=True):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await _come("go-on")
        await send({"type": "http.response.body", "body": b"the end"})
    elif path == "/forever":
        _leave("asked")
        while (await receive())["type"] != "http.disconnect":
            pass
        _leave("left")
    elif path == "/die":
        sys.stderr.write("I was told to\n")
        os._exit(3)
    else:
        headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
        seen = {
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": headers,
            "body": body.decode(),
            "environment": dict(os.environ),
            "pid": os.getpid(),
            "own": given.own,
        }
        await answer(
            201,
            json.dumps(seen).encode(),
            (b"content-type", b"application/x-seen"),
            (b"x-own", b"yes"),
            (b"keep-alive", b"no"),
            (b"x-odd", "ä".encode()),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--socket")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--own", help="repeated in answers")
    given = parser.parse_args()
    os.chdir(given.folder)
    if _is_there("refuses"):
        sys.stderr.write("I will not\n")
        sys.exit(78)
    sys.stdout.write("one line\nand another\n")
    sys.stdout.flush()
    uvicorn.run(app, host="127.0.0.1", port=given.port, uds=given.socket, log_level="warning")
