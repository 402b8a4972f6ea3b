"""`python -m inlet.runtime.spare`: a replica's process before anybody knows which one it will be.

Started by a keeper (`backends/local/keeper.py`) with a socket as standard input. Imports what every replica imports, waits
for one byte with a file, answers with one byte, and goes on as `python -m inlet.runtime` would have with the `command`, the
`env` and the `folder` that are in that file. Ends when the socket is closed first. Until then it must not start a thread,
nor touch the engine beyond importing it: limits and environment come with the orders.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import inlet.runtime.batcher
import inlet.runtime.buckets
import inlet.runtime.engines.openvino.graph
import inlet.runtime.loader  # noqa: F401 - as those above: what `serve` imports later
from inlet.runtime.__main__ import main


def become() -> None:
    """Wait for orders and carry them out; returns only if none can come any more."""
    orders = _receive()
    if orders is None:
        return
    os.chdir(Path(orders["folder"]) / "work")
    os.environ.clear()
    os.environ.update(orders["env"])
    command = orders["command"]
    main(command[command.index("inlet.runtime") + 1 :])


def _receive() -> dict[str, Any] | None:
    """The orders; afterwards standard input is empty."""
    with socket.socket(fileno=0) as keeper:
        _, files, _, _ = socket.recv_fds(keeper, 1, 1)
        if files:
            keeper.send(b"\0")  # it would take us for hanging
    nothing = os.open(os.devnull, os.O_RDONLY)  # gets the lowest number that is free: 0
    os.set_inheritable(nothing, True)
    if not files:
        return None
    os.lseek(files[0], 0, os.SEEK_SET)  # the keeper has read it before us
    with os.fdopen(files[0], "rb") as file:
        orders: dict[str, Any] = json.load(file)
    return orders


if __name__ == "__main__":
    become()
