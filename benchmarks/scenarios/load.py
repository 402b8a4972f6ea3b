"""Latency of mixed requests that arrive at random (Poisson) at a given share of the highest throughput."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.figures import queueing_ms
from benchmarks.load import poisson_times
from benchmarks.scenarios.case import Case
from benchmarks.workload import MIXED


def load(case: Case) -> dict[str, Any]:
    """By share of the knee. `queueing`: the mean wait that theory expects of one server with the service times seen alone."""
    service = case.closed(case.calls(MIXED)).latencies_ms()
    alone = float(np.nanmean(service))
    # As one server that is faster by what several at once gain.
    lanes = max(1.0, case.knee() * alone / 1e3)
    found: dict[str, Any] = {"knee": case.knee()}
    for share in case.plan.load_shares:
        rate = share * case.knee()
        samples = case.open(case.calls(MIXED), poisson_times(rate, case.plan.load_s, case.seed))
        told = case.told_open(samples)
        found[f"{share:.0%}"] = {
            **told,
            "offered": rate,
            "wait": told["mean"] - alone if told["count"] else None,
            "queueing": queueing_ms(service, rate, lanes),
        }
    return found
