"""What everything has in common that has its requests answered by a program behind an `Upstream`.

Base of `serving` here and of `generation/serving`.
"""

from __future__ import annotations

from inlet.runtime.foreign.upstream import Upstream
from inlet.runtime.serving import Serving


class Behind(Serving):
    """Is away while its program is started again, and gives up when that is to no avail."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        self._upstream = upstream

    @property
    def away(self) -> str | None:
        return self._upstream.away

    async def given_up(self) -> str:
        return await self._upstream.given_up()

    def admit(self, arrived: float, patience: float | None) -> None:  # noqa: ARG002 - how long it will wait, nobody knows
        self._upstream.admit()

    def close(self) -> None:
        self._upstream.close()
