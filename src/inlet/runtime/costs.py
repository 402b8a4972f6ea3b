"""What a batch costs, learned from those that ran; used by the batcher to predict a wait. Reads no clock.

A process may stand still for seconds, or a machine be slow for a moment: an estimate must not believe a single
measurement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median_low
from typing import TypeAlias

Shape: TypeAlias = tuple[int, int]  # texts, bucket

_RECENT = 8  # measurements of a shape that count
_ENOUGH = 2  # the first use of a shape also pays for making it


class Costs:
    """Seconds of the whole engine for each shape."""

    def __init__(self) -> None:
        self._recent: dict[Shape, deque[float]] = {}
        self._per_token: float | None = None  # to be found out when it is asked for

    def add(self, shape: Shape, seconds: float) -> None:
        """A batch of that shape took so long."""
        self._recent.setdefault(shape, deque(maxlen=_RECENT)).append(seconds)
        self._per_token = None

    def of(self, shape: Shape) -> float:
        """Seconds that it takes lately; by its tokens while it is new, 0 while nothing is known."""
        times = self._recent.get(shape, ())
        if len(times) >= _ENOUGH:
            return median_low(times)
        if self._per_token is None:
            self._per_token = self._seconds_per_token()
        return shape[0] * shape[1] * self._per_token

    def total(self, shapes: Mapping[Shape, int]) -> float:
        """Seconds for so many batches of each shape."""
        return sum(count * self.of(shape) for shape, count in shapes.items())

    def _seconds_per_token(self) -> float:
        known = [
            median_low(times) / (texts * size)
            for (texts, size), times in self._recent.items()
            if len(times) >= _ENOUGH
        ]
        return median_low(known) if known else 0.0
