"""The way out of a sandbox: an HTTP proxy on a Unix socket, which leads to public addresses only. Started by `sandbox`.

It resolves names itself and connects to the address that it looked at, so that a name cannot mean one thing when it is judged
and another when it is used. What is private, this machine itself by whichever of its addresses, and other ports than those of
HTTP and HTTPS are reached only where the server's owner said so. Runs in a thread with a loop of its own: the replica's must not
carry downloads. Keeps nothing of what it passes on, and sees no more of TLS than a name.
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

import psutil

from inlet.core.trust import REACH
from inlet.runtime.handler.child.forward import copied

MOST_CONNECTIONS = 64
_LONGEST_HEAD = 65_536
_LONGEST_REASON = 500  # characters
_WITHIN_S = 30.0  # to say where to, and to get there
_PORTS = (80, 443)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ON_THE_INTERNET = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given to anybody
# Not public, though the standard library holds them to be, or did in some release that we run on.
_NOT_PUBLIC = (
    ipaddress.ip_network("168.63.129.16/32"),  # what Azure tells its machines
    ipaddress.ip_network("192.0.0.0/24"),  # protocols' own; Oracle's metadata
    ipaddress.ip_network("192.88.99.0/24"),  # once the way to 6to4
    ipaddress.ip_network("3fff::/20"),  # for documentation
)
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
        self._thread = threading.Thread(target=self._loop.run_forever, name="egress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more connections, and drop those that there are."""
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _end(self) -> None:
        """In the loop's own thread: a server must not be closed while its loop takes leave of a connection."""
        self._server.close()
        self._loop.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            await self._pass_on(reader, writer)
        except _Refused as error:
            reason = f"the handler may not reach {_line(str(error))}"
            _log.warning("%s", reason)
            writer.write(_refusal(reason))
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
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        allowed = place.lower() in self._reach
        how = f"; whoever runs the server can allow it, by {place} in {REACH}"
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        if not allowed:
            own = own_addresses()
            addresses = [address for address in addresses if is_public(address, own)]
        if not addresses:
            raise _Refused(f"{place}: it is not a public address of another machine{how}")
        if not allowed and port not in _PORTS:
            raise _Refused(f"{place}: its port is neither 80 nor 443{how}")
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(address, port)
        return await asyncio.open_connection(addresses[-1], port)


class _Refused(Exception):
    """Where it may not go, and why."""


_OWN = ("proxy-", "connection:", "keep-alive:")  # fields between the client and this proxy


def own_addresses() -> frozenset[str]:
    """Those of this machine's interfaces, as they are now: behind a public one of them lies what its firewall keeps from others."""
    return frozenset(
        str(ipaddress.ip_address(address.address))
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6) and "%" not in address.address
    )


def is_public(address: str, own: Collection[str] = ()) -> bool:
    """Whether it is an address on the Internet, and none of `own`: what merely leads to another is not."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if str(found) in own or "%" in address:  # with a zone: link-local
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner), own)
        if found not in _ON_THE_INTERNET:
            return False
    return found.is_global and not found.is_multicast and not any(found in network for network in _NOT_PUBLIC)


def _line(words: str) -> str:
    """What of it can stand in a status line and in a log: printable ASCII, and not too much of it."""
    return "".join(character if " " <= character <= "~" else "?" for character in words[:_LONGEST_REASON])


def _refusal(reason: str) -> bytes:
    """The reason is in the first line as well, which is all that clients show of a tunnel that was refused."""
    text = f"{reason}\n".encode()
    return (
        f"HTTP/1.1 403 {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + text
