"""From samples to figures, and from blocks of measurements to a ratio with its uncertainty. Pure arithmetic.

The unit of comparison is the block, not the request: requests of one block share whatever disturbed it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.load import Floats

_Z95 = 1.96


def quantiles(values: Floats) -> dict[str, Any]:
    """`mean`, `p50`, `p90`, `p99`, `max`, and the interval that the ranks give the median and p99 (95 %)."""
    kept = np.sort(values[~np.isnan(values)])
    if not len(kept):
        return {"count": 0}
    found: dict[str, Any] = {"count": len(kept), "mean": float(kept.mean()), "max": float(kept[-1])}
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        found[name] = float(np.quantile(kept, q))
    for name, q in (("p50_interval", 0.5), ("p99_interval", 0.99)):
        found[name] = [float(kept[rank]) for rank in _ranks(len(kept), q)]
    return found


def _ranks(count: int, q: float) -> tuple[int, int]:
    spread = _Z95 * math.sqrt(count * q * (1 - q))
    low, high = math.floor(count * q - spread), math.ceil(count * q + spread)
    return max(low, 0), min(high, count - 1)


def ratio(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], *, draws: int = 2_000
) -> dict[str, Any]:
    """`theirs` / `ours`, block by block: both are rounds of blocks, each block measured within the same seconds.

    Geometric mean of all blocks; interval (95 %) of a bootstrap that draws rounds, and blocks within them; the mean of
    each round; and in how many of the blocks ours was the lesser (`wins` of `blocks`), which needs no distribution at all.
    """
    logs = [np.log(np.array(b) / np.array(a)) for a, b in zip(ours, theirs, strict=True)]
    rng = np.random.default_rng(0)

    def drawn() -> float:
        rounds = (logs[number] for number in rng.integers(len(logs), size=len(logs)))
        return float(np.mean([rng.choice(blocks, len(blocks)).mean() for blocks in rounds]))

    low, high = np.exp(np.quantile([drawn() for _ in range(draws)], [0.025, 0.975]))
    every = np.concatenate(logs)
    return {
        "mean": float(np.exp(every.mean())),
        "interval": [float(low), float(high)],
        "rounds": [float(np.exp(each.mean())) for each in logs],
        "wins": int((every > 0).sum()),
        "blocks": len(every),
    }


def queueing_ms(service_ms: Floats, per_second: float, lanes: int) -> float | None:
    """The mean wait of Poisson arrivals at a queue with such service times (M/G/1, `lanes` as one faster server).

    None at or above full use. A measured wait far above it is the scheduler's fault, far below it the generator's.
    """
    service = service_ms / 1e3 / lanes
    use = per_second * float(service.mean())
    if use >= 1:
        return None
    return float(per_second * (service**2).mean() / (2 * (1 - use)) * 1e3)
