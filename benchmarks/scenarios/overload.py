"""More mixed requests than can be served, then half of what can: what is still answered in time, and how it recovers."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.figures import quantiles
from benchmarks.load import Samples, poisson_times
from benchmarks.scenarios.case import Case
from benchmarks.workload import MIXED

SLO_MS = 500.0  # the longest texts take more than 100 ms by themselves on two cores
# The other half is for computing; callers who wait longer than the SLO have no use for an answer.
_PATIENCE_S = 0.25
_AFTERWARDS = 0.5  # of the knee
_WINDOW_S = 2.0


def overload(case: Case) -> dict[str, Any]:
    """By factor of the knee: `goodput` is what was answered within `SLO_MS` of its time, a second of the overload."""
    plan, knee = case.plan, case.knee()
    found: dict[str, Any] = {"knee": knee, "slo_ms": SLO_MS}
    for factor in plan.overloads:
        during = poisson_times(factor * knee, plan.overload_s, case.seed)
        after = poisson_times(_AFTERWARDS * knee, plan.recovery_s, case.seed + 1)
        samples = case.open(
            case.calls(MIXED, patience=_PATIENCE_S), during + [plan.overload_s + at for at in after]
        )
        found[f"{factor:g}"] = {
            **case.told_open(samples),
            "offered": factor * knee,
            **_goodput(samples, len(during), plan.overload_s),
            "recovered_s": _recovered(samples, len(during)),
        }
    return found


def _goodput(samples: Samples, during: int, seconds: float) -> dict[str, Any]:
    latencies, status = samples.latencies_ms()[:during], np.array(samples.status)[:during]
    refused = np.isin(status, (429, 503))
    good = (status == 200) & (latencies <= SLO_MS)
    return {
        "goodput": float(good.sum() / seconds),
        "refused": int(refused.sum()),
        "refusals": quantiles(latencies[refused]),
    }


def _recovered(samples: Samples, during: int) -> float | None:
    """Seconds from the overload's end to the first window whose calls were all answered in time; None if there is none."""
    intended = np.array(samples.intended)
    after = intended[during:] - intended[during - 1]
    late = ~samples.answered()[during:] | (samples.latencies_ms()[during:] > SLO_MS)
    for begin in np.arange(0.0, float(after.max()), _WINDOW_S):
        within = (after >= begin) & (after < begin + _WINDOW_S)
        if within.any() and not late[within].any():
            return float(begin)
    return None
