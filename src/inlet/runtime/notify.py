"""Tells whoever started the replica how it goes: datagrams as of `sd_notify(3)`, and the termination log.

Datagrams are hints and may be lost; the truth is `/health`. Never blocks, never raises.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

TERMINATION_LOG_BYTES = 4096


class Notifier:
    """Sends to `NOTIFY_SOCKET`, if there is one. Safe to use from any thread."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._replica = environ.get("INLET_REPLICA_ID", "")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)

    def status(self, text: str) -> None:
        self._send(f"STATUS={' '.join(text.split())}")  # a line break would begin another field

    def ready(self) -> None:
        self._send("STATUS=ready\nREADY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(f"INLET_REPLICA_ID={self._replica}\n{message}\n".encode(), self._address)
        except OSError:
            return  # nobody listens, or too slowly: only a hint was lost


def write_termination_log(path: Path | None, reason: str) -> None:
    """Leave the reason where the platform looks for it."""
    if path is None:
        return
    try:
        path.write_bytes(reason.encode()[:TERMINATION_LOG_BYTES])
    except OSError:
        return  # the reason is on standard error as well
