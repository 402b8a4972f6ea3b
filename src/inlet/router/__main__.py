"""The router's process: `python -m inlet.router --fd N`, or `--host` and `--port` to run it alone.

With `--fd` it answers on a listening socket that its parent made and keeps, and dies with that parent. SIGTERM and
SIGINT: accepts nothing more, finishes what is in flight, ends with 0.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import signal
import socket
import sys

import structlog
import uvloop

from inlet import telemetry
from inlet.core.errors import InletError
from inlet.process import EX_CONFIG, die_with_parent
from inlet.router.service import Router
from inlet.settings import Settings

log = structlog.get_logger()


def main() -> None:
    """Read flags and settings, then serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m inlet.router", description="Inlet's data plane.")
    parser.add_argument("--fd", type=int, help="number of an inherited listening socket")
    parser.add_argument("--host", help="address to listen on when there is no --fd (default: the setting)")
    parser.add_argument(
        "--port", type=int, help="port to listen on when there is no --fd (default: the setting)"
    )
    flags = parser.parse_args()
    if flags.fd is not None:
        die_with_parent()
    try:
        settings = Settings.from_env()
        telemetry.configure(process="router", level=settings.log_level, format_=settings.log_format)
        listening = _listening_socket(flags.fd, flags.host or settings.host, flags.port or settings.port)
    except (InletError, OSError) as error:
        sys.stderr.write(f"router: {error}\n")
        sys.exit(EX_CONFIG)
    _raise_file_limit()
    _calm_collector()
    uvloop.run(_serve(settings, listening))


def _listening_socket(fd: int | None, host: str, port: int) -> socket.socket:
    if fd is not None:
        return socket.socket(fileno=fd)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _raise_file_limit() -> None:
    """Two descriptors per request in flight: take what the system allows without asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _calm_collector() -> None:
    """What is loaded now stays: do not look through it again and again. Requests leave next to no cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _serve(settings: Settings, listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Router(settings).serving(listening):
        log.info("listening", address=str(listening.getsockname()))
        await stop.wait()
        log.info("stopping: finishing what is in flight")


if __name__ == "__main__":
    main()
