"""Pictures of a run's latencies: a histogram for the terminal, a percentile curve as SVG. Pure.

Called by `cli/bench.py`. Latencies come in ascending, in seconds, and at least one of them.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from html import escape

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BINS = 12
_WIDTH, _HEIGHT = 720, 400
_TICKS = (0, 50, 75, 90, 95, 99, 99.9, 99.99)  # percent
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50


def histogram(latencies: Sequence[float], width: int) -> list[str]:
    """One line for each of twelve steps from the fastest to the slowest, each longer than the one before by the same factor.

    `width` is that of the longest bar in columns. If all are the same, one line.
    """
    first, last = latencies[0], latencies[-1]
    steps = _BINS if last > first else 1
    edges = [first * (last / first) ** (number / steps) for number in range(1, steps)] + [last]
    ends = [bisect.bisect_right(latencies, edge) for edge in edges]
    counts = [end - begin for begin, end in itertools.pairwise([0, *ends])]
    labels = [f"≤ {edge * 1000:.2f} ms" for edge in edges]
    wide = max(len(label) for label in labels)
    return [
        f"{label:>{wide}}  {_bar(count / max(counts), width)} {count}"
        for label, count in zip(labels, counts, strict=True)
    ]


def curve(latencies: Sequence[float], title: str) -> str:
    """Latency over percentile as an SVG document; each tenfold rarer request takes the same width.

    The curve ends where the sample does: at the 99th percentile of a hundred requests.
    """
    count = len(latencies)
    decades = max(math.log10(count), 1.0)
    top = _ceiling(latencies[-1] * 1000)

    def x(share: float) -> float:
        return _LEFT - math.log10(1 - share) / decades * (_WIDTH - _LEFT - _RIGHT)

    def y(milliseconds: float) -> float:
        return _HEIGHT - _BOTTOM - milliseconds / top * (_HEIGHT - _TOP - _BOTTOM)

    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    drawn = [
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 24, title, "start"),
    ]
    for number in range(6):
        value = top * number / 5
        drawn += [
            f'<path d="M{_LEFT} {y(value):.1f}H{right}" stroke="#ddd"/>',
            _text(_LEFT - 8, y(value) + 4, f"{value:g} ms", "end"),
        ]
    for percent in (tick for tick in _TICKS if x(tick / 100) <= right):
        drawn += [
            f'<path d="M{x(percent / 100):.1f} {_TOP}V{bottom}" stroke="#ddd"/>',
            _text(x(percent / 100), bottom + 18, f"{percent:g} %", "middle"),
        ]
    points = " ".join(
        f"{x(rank / count):.1f},{y(latency * 1000):.1f}" for rank, latency in _thinned(latencies)
    )
    drawn += [
        f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="2"/>',
        _text(
            (_LEFT + right) / 2,
            _HEIGHT - 10,
            f"share of {count} requests that were as fast or faster",
            "middle",
        ),
    ]
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
    )
    return "\n".join([opening, *drawn, "</svg>"]) + "\n"


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _thinned(latencies: Sequence[float]) -> list[tuple[int, float]]:
    """Every rank of the slow end, and fewer the more ordinary they are: no picture shows a million points."""
    count = len(latencies)
    ranks = {
        count - max(round(10 ** (number / 100)), 1)
        for number in range(math.ceil(100 * math.log10(count)) + 1)
    }
    return [(rank, latencies[rank]) for rank in sorted(rank for rank in ranks if rank >= 0)]


def _ceiling(value: float) -> float:
    """The next 1, 2 or 5 with zeros."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * digit for digit in (1, 2, 5, 10) if value <= power * digit)


def _bar(share: float, width: int) -> str:
    whole, rest = divmod(round(share * width * 8), 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")
