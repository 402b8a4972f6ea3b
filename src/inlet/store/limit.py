"""How long anybody waits for a database.

Around the calls of `store/postgresql.py`, and around those of `control/` that must end sooner than the store's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CLEAN_UP_S = 0.5  # for the driver to cancel a statement that we gave up


@asynccontextmanager
async def limit(seconds: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` after `seconds`, or half a second later.

    PostgreSQL's driver takes the first cancellation as a wish, and asks the server to end the statement; a server that
    hangs would keep it waiting for another ten seconds. The second one makes it close the connection.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as second, asyncio.timeout(seconds):
        # Counted from the first one: of two that are due at once, after the process stood still, the task sees only one.
        first = loop.call_later(seconds, lambda: second.reschedule(loop.time() + _CLEAN_UP_S))
        try:
            yield
        finally:
            first.cancel()
