"""How fast a variant is on this CPU: the median of a few runs at a few lengths. Called by `build`.

The median and not the best: cores and memory that are shared with others are what callers will meet, too, and slow down most what
reads most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from time import perf_counter

import numpy as np

from inlet.runtime.engines.base import Lane, Variant

LENGTHS = (
    16,
    32,
    80,
    128,
)  # tokens; buckets in which most of the traffic of classifiers and embeddings falls
_RUNS = 20
_SECONDS = 1.0  # a length: slow models get fewer runs
_FEWEST = 3
_ID = 5  # any token: the time does not depend on which


def race(lanes: Mapping[Variant, Lane], *, positions: int) -> dict[Variant, dict[str, float]]:
    """Usual time in ms of one text of each length that the model takes. They run in turns: a busy moment hits all alike."""
    lengths = [length for length in LENGTHS if length <= positions] or [positions]
    times: dict[Variant, dict[str, float]] = {variant: {} for variant in lanes}
    for length in lengths:
        for variant, taken in _taken(lanes, length).items():
            times[variant][str(length)] = median(taken)
    return times


def mean(times: Mapping[str, float]) -> float:
    """One figure for several lengths: the geometric mean, in which each length counts the same."""
    return math.exp(sum(map(math.log, times.values())) / len(times))


def _taken(lanes: Mapping[Variant, Lane], length: int) -> dict[Variant, list[float]]:
    """In ms, of each run."""
    ids = np.full((1, length), _ID, dtype=np.int64)
    types, mask = np.zeros_like(ids), np.ones_like(ids)
    for lane in lanes.values():
        lane.infer(ids, types, mask)  # the first run at a length makes its kernels
    taken: dict[Variant, list[float]] = {variant: [] for variant in lanes}
    begin, runs = perf_counter(), 0
    while runs < _RUNS and (runs < _FEWEST or perf_counter() - begin < _SECONDS * len(lanes)):
        for variant, lane in lanes.items():
            start = perf_counter()
            lane.infer(ids, types, mask)
            taken[variant].append((perf_counter() - start) * 1000)
        runs += 1
    return taken
