"""A bound on what all requests in hand hold together. Used by `app` for bodies and by `batcher` for tokens.

On the event loop's thread only; measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inlet.core.errors import TooMany

# So many small requests are as much as the bound itself, and callers cannot have many more open.
_SMALL = 1000


class Room:
    """At most `most` of `what`.

    A request that is alone always finds room, for its own size is bounded elsewhere. So does a small one, or a few large
    ones that take minutes would lock it out.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self._taken = 0

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Around all that a request does while it holds so much; `TooMany` when that does not fit beside the others."""
        if self._taken and self._taken + amount > self._most and amount * _SMALL > self._most:
            raise TooMany(
                f"overloaded: requests in hand have {self._taken} {self._what}, and with {amount} more they would have more "
                f"than {self._most}; try again later, or send less at once",
                retry_after=1.0,
            )
        self._taken += amount
        try:
            yield
        finally:
            self._taken -= amount
