"""Who else is there: what can be told from the notices that controls put up again and again.

Used by `control/leading.py`. Must never compare times of two machines: a notice is alive while its beat rises, and that
is measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inlet.store.base import Notice

ALIVE_FOR_S = 10.0  # after the last notice: a few are missed before somebody is taken to be gone


class Watch:
    """Notices of one kind, read again and again. `clock`: seconds that only go forward."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: dict[str, tuple[Notice, float]] | None = None

    def read(self, notices: Sequence[Notice]) -> list[Notice]:
        """Those that were put up since the last time; of what is there the first time nobody knows how old it is."""
        now, last = self._clock(), self._last or {}
        changed = [n for n in notices if n.control not in last or last[n.control][0] != n]
        news = [] if self._last is None else changed
        self._last = {n.control: (n, now) if n in changed else last[n.control] for n in notices}
        return news

    def alive(self) -> list[Notice]:
        """The last notice of each control that still puts them up."""
        return [n for n, since in self._entries() if self._clock() - since < ALIVE_FOR_S]

    def silent(self) -> list[Notice]:
        """The last notice of each that does not."""
        return [n for n, since in self._entries() if self._clock() - since >= ALIVE_FOR_S]

    def _entries(self) -> Sequence[tuple[Notice, float]]:
        return tuple((self._last or {}).values())
