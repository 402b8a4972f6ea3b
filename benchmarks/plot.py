"""The picture of a result: bars of latency and throughput, as an SVG that needs nothing. Called by `__main__`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, TypeAlias

from benchmarks.report import best_rate, median

Bars: TypeAlias = Sequence[tuple[str, float]]

_WIDTH, _LABEL, _ROW, _BAR = 860, 230, 24, 16
_OURS, _OTHERS = "#2563eb", "#94a3b8"


def picture(result: dict[str, Any]) -> str:
    """One block of bars for each length of texts, and one for the best throughput; ours in another colour."""
    parts, y = [], _ROW
    for title, bars in _blocks(result):
        parts.append(_block(title, bars, y))
        y += _ROW * (len(bars) + 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="#111827">\n'
        f'<rect width="{_WIDTH}" height="{y}" fill="white"/>\n{"".join(parts)}</svg>\n'
    )


def _blocks(result: dict[str, Any]) -> Iterator[tuple[str, Bars]]:
    systems = result["systems"]
    for key in map(str, result["plan"]["latency_lengths"]):
        found = [(name, median(result, name, "latency", key, "p50")) for name in systems]
        yield f"One caller, {key} tokens: p50 in ms (less is better)", [(n, v) for n, v in found if v]
    rates = [(name, [best_rate(round_) for round_ in system["rounds"]]) for name, system in systems.items()]
    yield (
        "Mixed lengths: requests a second, best of the sweep (more is better)",
        [(name, statistics.median(each)) for name, each in rates if all(each)],
    )


def _block(title: str, bars: Bars, y: int) -> str:
    lines = [f'<text x="10" y="{y}" font-weight="600">{escape(title)}</text>\n']
    largest = max((value for _, value in bars), default=1.0)
    for row, (name, value) in enumerate(bars, start=1):
        top, width = y + row * _ROW - _BAR, (_WIDTH - _LABEL - 80) * value / largest
        colour = _OURS if name.startswith(("inlet", "engine")) else _OTHERS
        lines.append(
            f'<text x="{_LABEL - 10}" y="{top + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_LABEL}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>'
            f'<text x="{_LABEL + width + 6:.1f}" y="{top + 12}">{value:.1f}</text>\n'
        )
    return "".join(lines)
