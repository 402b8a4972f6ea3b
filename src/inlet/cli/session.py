"""Which server a command speaks to, and as whom. Called by every command that needs one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from inlet.core.errors import Invalid
from inlet.settings import Settings

if TYPE_CHECKING:
    from inlet.client import Client

_HOW = (
    "start one here with `inlet up`, or say which with --url and --token (or INLET_URL and INLET_API_TOKEN)"
)


@contextmanager
def connect(url: str | None, token: str | None, namespace: str | None = None) -> Iterator[Client]:
    """A client for the server that was named, else for the one that `inlet up` runs on this machine."""
    from inlet.client import Client  # httpx is not needed for --help

    found_url, found_token = whereabouts(url, token, Settings.from_env().context_file)
    with Client(found_url, found_token, namespace=namespace) as client:
        yield client


def whereabouts(url: str | None, token: str | None, context_file: Path) -> tuple[str, str]:
    """URL and token to use. The token of the context file goes to the URL of the context file only."""
    if url and token:
        return url, token
    left = _read(context_file)
    if left is None:
        missing = (
            "no token for it is known" if url else "no URL for it is known" if token else "none is known"
        )
        raise Invalid(f"which Inlet? {missing}: {_HOW}")
    context_url, context_token = left
    if url and url.rstrip("/") != context_url.rstrip("/"):
        raise Invalid(f"no token for {url} is known: give one with --token or INLET_API_TOKEN")
    return context_url, token or context_token


def _read(context_file: Path) -> tuple[str, str] | None:
    try:
        content = json.loads(context_file.read_text())
        url, token = content["url"], content["token"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise Invalid(f"{context_file} cannot be read: delete it and run `inlet up` again") from None
    return (url, token) if isinstance(url, str) and isinstance(token, str) else None
