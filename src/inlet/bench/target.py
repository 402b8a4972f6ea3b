"""Where requests go and what they are: a URL taken apart once, and each request as the bytes that are sent.

Made by `cli/`; read by `connection.py` and `load.py`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from inlet import __version__
from inlet.core.errors import Invalid

_PORTS = {"http": 80, "https": 443}
_SAFE = "/%:@!$&'()*+,;=~?-._"
"""What a path and a query may hold as they are."""


@dataclass(frozen=True, slots=True)
class Target:
    """`requests` are sent in turn; `tls` None for plain HTTP. `keep_alive` False: a new connection for each."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    requests: tuple[bytes, ...]
    keep_alive: bool


def build_target(
    url: str, bodies: Sequence[bytes], *, headers: Mapping[str, str], keep_alive: bool = True
) -> Target:
    """A POST of each body to `url`, or a GET if there is none.

    `headers` win over those that are set by default, whatever the case of their names. `Invalid` for a URL that is none,
    and for a header that would not be one line.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
        if not host or port is None:
            raise ValueError
    except ValueError:
        raise Invalid(f"{url!r} is not a URL like http://127.0.0.1:8080/default/mini") from None
    path = quote(parts.path or "/", _SAFE) + (f"?{quote(parts.query, _SAFE)}" if parts.query else "")
    sent = {
        "host": parts.netloc.rpartition("@")[2],
        "user-agent": f"inlet/{__version__}",
        "connection": "keep-alive" if keep_alive else "close",
    }
    if bodies:
        sent["content-type"] = "application/json"
    sent |= {name.lower(): value for name, value in headers.items()}
    for name, value in sent.items():
        if not (name.isascii() and value.isascii() and f"{name}{value}".isprintable()):
            raise Invalid(f"the header {name!r} holds characters that no header has", field="--header")
    verb = "POST" if bodies else "GET"
    head = f"{verb} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    requests = tuple(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in bodies)
    return Target(
        host=host,
        port=port,
        tls=ssl.create_default_context() if parts.scheme == "https" else None,
        requests=requests or (f"{head}\r\n".encode(),),
        keep_alive=keep_alive,
    )
