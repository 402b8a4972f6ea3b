"""From nothing running to the first answer: a request that wakes an endpoint which sleeps.

Only of what can sleep. How long other servers take to start is noted by `rounds` each time it starts one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.figures import quantiles
from benchmarks.machine import drop_page_cache
from benchmarks.scenarios.case import Case
from benchmarks.systems.product import ServedByInlet

_LENGTH = "16"


def start(case: Case) -> dict[str, Any]:
    """Seconds: `warm` with the model's files in memory, `cold` after the page cache was dropped (where root runs this)."""
    if not isinstance(case.served, ServedByInlet):
        return {}
    served = case.served
    found: dict[str, Any] = {}
    for name, forget in (("warm", lambda: True), ("cold", drop_page_cache)):
        times, good = [], True
        for call in case.repeated(_LENGTH, case.plan.cold_starts):
            served.sleep()
            if not forget():
                break
            samples = case.closed([call])
            times.append(samples.latencies_ms()[0] / 1e3)
            good &= bool(case.told([samples])["good"])
        if times:
            found[name] = {**quantiles(np.array(times)), "good": good}
    return found
