"""What happens to work that waits longer than its request allows. Used by `batcher` and `calls`, which keep the time.

On the event loop's thread; must never touch what has begun.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from inlet.core.errors import TooMany
from inlet.runtime.metrics import Metrics


class Waiting(Protocol):
    """Work that somebody waits for. `begun`: an engine has it, or a part of it."""

    begun: bool
    future: asyncio.Future[Any]


def expire(work: Waiting, metrics: Metrics) -> None:
    """Refuse it, unless it has begun or is over."""
    if work.begun or work.future.done():
        return
    metrics.expired()
    work.future.set_exception(
        TooMany(
            "overloaded: not begun within the time that the request allows; try again later",
            retry_after=1.0,
        )
    )
