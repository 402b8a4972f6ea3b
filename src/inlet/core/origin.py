"""Where a server is reached: whether a text that a person gave can be such an address. Pure.

Called by the settings and by the clients. Must never look whether anybody answers there.
"""

from __future__ import annotations

from urllib.parse import urlsplit


def is_origin(text: str) -> bool:
    """Whether it is like `https://ml.example.com` or `http://127.0.0.1:8080/path`."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - read for the ValueError of one that is no number, or too large
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and text.isprintable()
        and not (" " in text or parts.query or parts.fragment)
    )
