"""What tests of several suites ask of the operating system: a port where nobody listens, whether a process has ended."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port where nothing listens, and that nobody gets who does not ask for this very one."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def has_ended(process: psutil.Process) -> bool:
    """Also if nobody reaps it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
