"""The datagrams of replicas and keepers, in the manner of `sd_notify(3)`. Owned by `backend.py`.

They are hints only: one that is lost costs a later probe, one that is forged (the socket is 0600) costs an extra one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

_MAX_DATAGRAM = 4096
_PER_WAKE = 64  # then other callbacks of the loop have their turn


class NotifySocket:
    """A bound datagram socket, read by the running loop from `open` to `close`."""

    def __init__(self, path: Path, on_message: Callable[[str, Mapping[str, str]], None]) -> None:
        """`on_message` gets a replica's id and the other fields of its datagram."""
        self._path = path
        self._on_message = on_message
        self._socket: socket.socket | None = None

    def open(self) -> None:
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self._path))
        self._path.chmod(0o600)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        for _ in range(_PER_WAKE):
            if self._socket is None:
                return
            try:
                datagram = self._socket.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            pairs = (line.partition("=") for line in datagram.decode(errors="replace").splitlines())
            fields = {name: value for name, _, value in pairs}
            replica_id = fields.pop("INLET_REPLICA_ID", "")
            if replica_id:
                self._on_message(replica_id, fields)
