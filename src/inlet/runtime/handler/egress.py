"""The way out of a sandbox: an HTTP proxy on a Unix socket, which leads to public addresses only. Started by `sandbox`.

It resolves names itself and connects to the address that it looked at, so that a name cannot mean one thing when it is judged
and another when it is used. What is private is reached only where the server's owner said so. Runs in a thread with a loop
of its own: the replica's must not carry downloads. Keeps nothing of what it passes on, and sees no more of TLS than a name.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from inlet.runtime.handler.child.forward import copied

MOST_CONNECTIONS = 64
_LONGEST_HEAD = 65_536
_WITHIN_S = 30.0  # to say where to, and to get there
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_log = logging.getLogger(__name__)


class Egress:
    """`reach`: `host:port` in lower case of what may be reached whatever its address is."""

    def __init__(self, path: Path, reach: Collection[str]) -> None:
        self._path, self._reach = path, frozenset(reach)
        self._loop = asyncio.new_event_loop()
        self._open = 0
        self._server = self._loop.run_until_complete(
            asyncio.start_unix_server(self._serve, str(path), limit=_LONGEST_HEAD)
        )
        path.chmod(0o666)  # whoever is in the sandbox has another number; the folder around it is private
        threading.Thread(target=self._loop.run_forever, name="egress", daemon=True).start()

    def close(self) -> None:
        """Take no more connections, and drop those that there are."""
        with contextlib.suppress(RuntimeError):  # closed before
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            await self._pass_on(reader, writer)
        except _Refused as error:
            _log.warning("the handler may not reach %r", str(error))
            writer.write(_refusal(str(error)))
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError):
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        finally:
            self._open -= 1
            with contextlib.suppress(OSError):
                await writer.drain()
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open > MOST_CONNECTIONS:
            raise _Refused(f"anything more: it has {MOST_CONNECTIONS} connections open")
        async with asyncio.timeout(_WITHIN_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, _, fields = head.partition("\r\n")
            method, target, version = line.split(" ")
            url = urlsplit(f"//{target}" if method == "CONNECT" else target)
            if url.hostname is None or (method != "CONNECT" and url.scheme != "http"):
                raise _Refused(f"{target[:200]}: that is no address of an HTTP server")
            port = url.port or 80
            far_reader, far_writer = await self._connected(url.hostname, port)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = url._replace(scheme="", netloc="").geturl() or "/"
                kept = [field for field in fields.split("\r\n") if not field.lower().startswith(_OWN)]
                # One request each: the next may be for somebody else.
                far_writer.write(
                    "\r\n".join([f"{method} {path} {version}", "Connection: close", *kept]).encode("latin-1")
                )
            await asyncio.gather(copied(reader, far_writer), copied(far_reader, writer))
        finally:
            far_writer.close()

    async def _connected(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if place.lower() not in self._reach:
            addresses = [address for address in addresses if is_public(address)]
        if not addresses:
            raise _Refused(f"{host}:{port}: it is not a public address")
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(address, port)
        return await asyncio.open_connection(addresses[-1], port)


class _Refused(Exception):
    """Where it may not go, and why."""


_OWN = ("proxy-", "connection:", "keep-alive:")  # fields between the client and this proxy


def is_public(address: str) -> bool:
    """Whether it is an address on the Internet: what merely leads to a private one is not."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # with a zone: link-local
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    if isinstance(found, ipaddress.IPv6Address) and (found.is_reserved or found.is_site_local):
        return False
    return found.is_global and not found.is_multicast


def _refusal(reason: str) -> bytes:
    text = f"this endpoint's handler may not reach {reason}\n".encode()
    return (
        f"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + text
