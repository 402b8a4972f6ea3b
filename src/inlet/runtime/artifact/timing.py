"""How fast a variant is on this CPU: the best of a few runs at a few lengths. Called by `build`.

The best and not the mean: other work on the machine only ever makes a run slower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    """Best time in ms of one text of each length that the model takes. They run in turns: a busy moment hits all alike."""
    lengths = [length for length in LENGTHS if length <= positions] or [positions]
    times: dict[Variant, dict[str, float]] = {variant: {} for variant in lanes}
    for length in lengths:
        for variant, best in _best(lanes, length).items():
            times[variant][str(length)] = best
    return times


def mean(times: Mapping[str, float]) -> float:
    """One figure for several lengths: the geometric mean, in which each length counts the same."""
    return math.exp(sum(map(math.log, times.values())) / len(times))


def _best(lanes: Mapping[Variant, Lane], length: int) -> dict[Variant, float]:
    ids = np.full((1, length), _ID, dtype=np.int64)
    types, mask = np.zeros_like(ids), np.ones_like(ids)
    for lane in lanes.values():
        lane.infer(ids, types, mask)  # the first run at a length makes its kernels
    best = dict.fromkeys(lanes, math.inf)
    begin, runs = perf_counter(), 0
    while runs < _RUNS and (runs < _FEWEST or perf_counter() - begin < _SECONDS * len(lanes)):
        for variant, lane in lanes.items():
            start = perf_counter()
            lane.infer(ids, types, mask)
            best[variant] = min(best[variant], (perf_counter() - start) * 1000)
        runs += 1
    return best
