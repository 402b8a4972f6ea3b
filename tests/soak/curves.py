"""What each process holds while requests go through it, and whether that is flat: resident memory, open files, threads.

Used by `test_soak.py`. Sockets are among the open files. Samples are taken by count of requests, not by time, so that a
slow machine draws the same curve as a fast one. The first quarter of a run is warm-up and is not judged. After that
something grows if both of these say so, each by more than its tolerance: the median of the last quarter against that of the second,
and the line fitted through the second half, over its whole length. A leak shows in both; a single step does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import linear_regression, median

import psutil

from tests.machine import described

SAMPLES = 120  # of one run
TOLERANCE = {"rss_mb": (0.02, 2.0), "files": (0.0, 8.0), "threads": (0.0, 2.0)}
"""By measure: the share of the second quarter's median, and the amount, of which the larger one is allowed."""

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


@dataclass
class Curve:
    """One process over a run; the lists have one value for each sample."""

    process: str
    rss_mb: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)

    def growth(self, measure: str) -> float:
        """By how much it grew after the warm-up, by the milder of the two judgements; negative if it shrank."""
        values: list[float] = getattr(self, measure)
        quarter, half = len(values) // 4, len(values) // 2
        step = median(values[-quarter:]) - median(values[quarter:half])
        later = values[half:]
        slope, _ = linear_regression(range(len(later)), later)
        return min(step, slope * (len(later) - 1))

    def allowed(self, measure: str) -> float:
        """The largest growth that still counts as flat."""
        values: list[float] = getattr(self, measure)
        share, amount = TOLERANCE[measure]
        return max(share * median(values[len(values) // 4 : len(values) // 2]), amount)


class Curves:
    """Samples `processes` (by name) whenever it is told how many requests were made."""

    def __init__(self, processes: Mapping[str, psutil.Process]) -> None:
        self._processes = processes
        self._curves = {name: Curve(name) for name in processes}
        self.requests: list[int] = []

    def sample(self, requests: int) -> None:
        """Look at every process now; one that is gone fails the run."""
        self.requests.append(requests)
        for name, process in self._processes.items():
            with process.oneshot():
                self._curves[name].rss_mb.append(round(process.memory_info().rss / 2**20, 2))
                self._curves[name].threads.append(process.num_threads())
            self._curves[name].files.append(process.num_fds())

    def growing(self) -> list[str]:
        """What is not flat, in words; empty when all is."""
        return [
            f"{curve.process}: {measure} grew by {curve.growth(measure):.1f} after the warm-up, "
            f"more than {curve.allowed(measure):.1f}"
            for curve in self._curves.values()
            for measure in TOLERANCE
            if curve.growth(measure) > curve.allowed(measure)
        ]

    def table(self) -> str:
        """For a terminal: first, second quarter's and last quarter's values, and the memory as a line of bars."""
        lines = [
            f"{'process':10} {'memory, MB':>21} {'files':>14} {'threads':>11}  memory over {self.requests[-1]:,} requests"
        ]
        for curve in self._curves.values():
            cells = [
                _told(getattr(curve, measure), digits)
                for measure, digits in (("rss_mb", 1), ("files", 0), ("threads", 0))
            ]
            lines.append(
                f"{curve.process:10} {cells[0]:>21} {cells[1]:>14} {cells[2]:>11}  {_sparkline(curve.rss_mb)}"
            )
        return "\n".join(lines)

    def store(self, path: Path, **more: object) -> None:
        """Write all samples as JSON, with where and when they were taken."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            **described(),
            **more,
            "requests": self.requests,
            "curves": [asdict(c) for c in self._curves.values()],
        }
        path.write_text(json.dumps(content) + "\n")


def _told(values: Sequence[float], digits: int) -> str:
    quarter = len(values) // 4
    shown = (values[0], median(values[quarter : 2 * quarter]), median(values[-quarter:]))
    return " → ".join(f"{value:.{digits}f}" for value in shown)


def _sparkline(values: Sequence[float]) -> str:
    """Zero is the bottom, so that noise does not look like a mountain."""
    top = max(values)
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in _thinned(values))


def _thinned(values: Sequence[float]) -> Iterable[float]:
    step = max(1, len(values) // _WIDTH)
    return (max(values[i : i + step]) for i in range(0, len(values), step))
