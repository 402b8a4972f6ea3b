"""The body of a request as far as it is kept: to wait with it, or to send it a second time. Used by `forward.py`."""

from __future__ import annotations

MAX_KEPT = 64 * 1024


class KeptBody:
    """Pieces of a body in the order they came, of which `data` is the first.

    `complete`: all of it came; `whole`: all that came is still here; `full`: no more should be kept.
    """

    __slots__ = ("_pieces", "complete", "full", "size", "whole")

    def __init__(self, data: bytes, *, complete: bool) -> None:
        self._pieces = [data]
        self.size = len(data)
        self.full = self.size > MAX_KEPT
        self.complete = complete
        self.whole = True

    def add(self, data: bytes, *, done: bool) -> None:
        """More of the body; forgotten at once when earlier pieces were."""
        self.complete = done
        if self.whole and data:
            self._pieces.append(data)
            self.size += len(data)
            self.full = self.size > MAX_KEPT

    def joined(self) -> bytes:
        """All that is kept."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def drop(self) -> None:
        """Forget it: it is on its way and will not be sent again."""
        self._pieces = []
        self.size = 0
        self.full = self.whole = False
