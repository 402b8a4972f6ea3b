"""How much work is in front of a new request, and whether it may wait for that. Used by `calls` and `worker/serving`.

A guess by what requests took lately; on the event loop's thread only.
"""

from __future__ import annotations

from inlet.core.errors import TooMany

_RECENT = 0.1  # the share of the latest request in the average


class Queue:
    """Of requests that are computed one after the other. `max_wait`: seconds that one may wait if it does not say."""

    def __init__(self, max_wait: float) -> None:
        self.unfinished = 0
        self._max_wait = max_wait
        self._seconds = 0.0  # that one takes, lately

    def admit(self, waited: float, patience: float | None) -> None:
        """`TooMany` if one that waited so long already would not begin in time."""
        # However long one takes, the next may wait for it, or a slow model would have a single caller.
        bound = max(self._max_wait, self._seconds) if patience is None else min(patience, self._max_wait)
        bound = max(0.0, bound - waited)
        wait = self.unfinished * self._seconds
        if wait > bound:
            raise TooMany(
                f"overloaded: {self.unfinished} requests are in front of a new one, about {wait:.1f} s of work, more than "
                f"{bound:.3g} s; try again later",
                retry_after=max(1.0, wait - bound),
            )

    def took(self, seconds: float) -> None:
        """Learn from one that was computed."""
        self._seconds += (seconds - self._seconds) * (_RECENT if self._seconds else 1.0)
