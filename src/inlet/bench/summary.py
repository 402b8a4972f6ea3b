"""What a run says, and what it does not: rates, percentiles with their certainty, and whether the run holds. Pure.

Made of a `Recording` of `load.py`; shown by `cli/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inlet.bench.load import Load, Recording

PERCENTILES = (50, 75, 90, 95, 99)
_Z = 1.96
"""Standard deviations on both sides of the mean within which 95 % of a normal distribution lie."""
_BUSY = 0.9
_LAG_S = 0.001
_LAG_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile of the sample, and where that of all such requests lies with 95 % confidence. Seconds.

    `high` None: the sample is too small to bound it from above; `low` likewise.
    """

    percent: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in figures. `latencies` ascend, in seconds, of the requests answered with 2xx; `elapsed` in seconds.

    `cpu_share`: of one core, used by the generator. `lag`: how late it sent, at the 99th percentile, None in the closed
    loop. `flaws` are the reasons for which the run must not be used, each a sentence.
    """

    latencies: tuple[float, ...]
    percentiles: tuple[Percentile, ...]
    failures: Mapping[str, int]
    answers: Mapping[str, str]
    sent: int
    received: int
    crowded: int
    elapsed: float
    cpu_share: float
    lag: float | None
    flaws: tuple[str, ...]

    @property
    def succeeded(self) -> int:
        return len(self.latencies)

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def per_second(self) -> float:
        """Requests answered with 2xx, a second."""
        return self.succeeded / self.elapsed if self.elapsed else 0.0

    def at(self, percent: int) -> Percentile | None:
        """One of `PERCENTILES`; None if nothing was answered."""
        return next((found for found in self.percentiles if found.percent == percent), None)


def summarise(recording: Recording, load: Load) -> Summary:
    """The figures of a run, also of one that was broken off."""
    latencies = tuple(sorted(recording.latencies))
    percentiles = tuple(percentile(latencies, percent) for percent in PERCENTILES) if latencies else ()
    lag = percentile(sorted(recording.lags), 99).value if recording.lags else None
    cpu_share = recording.cpu / recording.elapsed if recording.elapsed else 0.0
    return Summary(
        latencies=latencies,
        percentiles=percentiles,
        failures=dict(recording.failures.most_common()),
        answers=dict(recording.answers),
        sent=recording.sent,
        received=recording.received,
        crowded=recording.crowded,
        elapsed=recording.elapsed,
        cpu_share=cpu_share,
        lag=lag,
        flaws=_flaws(cpu_share, lag, percentiles[-1].value if percentiles else None, load),
    )


def percentile(ascending: Sequence[float], percent: int) -> Percentile:
    """By nearest rank; its bounds are the values at the ranks that the binomial distribution gives."""
    count, share = len(ascending), percent / 100
    spread = _Z * math.sqrt(count * share * (1 - share))
    low, high = math.floor(count * share - spread), math.ceil(count * share + spread)
    return Percentile(
        percent=percent,
        value=ascending[max(math.ceil(count * percent / 100), 1) - 1],
        low=ascending[low - 1] if low >= 1 else None,
        high=ascending[high - 1] if high <= count else None,
    )


def enough_for(percent: int) -> int:
    """How many requests it takes to bound this percentile from above."""
    share = percent / 100
    return math.ceil(_Z**2 * share / (1 - share))


def _flaws(cpu_share: float, lag: float | None, p99: float | None, load: Load) -> tuple[str, ...]:
    found = []
    if cpu_share > _BUSY:
        found.append(
            f"the generator used {cpu_share:.0%} of a core: it was as fast as it can be, not the server"
        )
    allowed = max(_LAG_S, _LAG_SHARE * (p99 or 0.0))
    if lag is not None and lag > allowed:
        found.append(
            f"the generator sent {lag * 1000:.1f} ms late (99th percentile), and {allowed * 1000:.1f} ms is what "
            f"may be: lower --rate {load.rate:g}, or run it on another machine than the server"
        )
    return tuple(found)
