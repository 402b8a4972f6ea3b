"""Memory that a server takes: fresh, after many requests of all lengths, idle processor time, and several replicas."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.load import Call
from benchmarks.machine import pss_mb
from benchmarks.scenarios.case import Case
from benchmarks.systems.base import Served
from benchmarks.systems.product import ServedByInlet
from benchmarks.workload import LENGTHS, MIXED

_CONNECTIONS = 8


def memory(case: Case) -> dict[str, Any]:
    """PSS in MB of all processes of the server: what they share is counted once."""
    served, plan = case.served, case.plan
    found: dict[str, Any] = {"fresh_mb": pss_mb(served.processes())}
    told = case.told([case.closed(_all_lengths(case, plan.memory_requests), connections=_CONNECTIONS)])
    found |= {
        "answers": told["answers"],
        "good": told["good"],
        "after_mb": pss_mb(served.processes()),
        "idle_cpu": _idle(served, plan.idle_s),  # not before: what was just started may still be warming up
    }
    if isinstance(served, ServedByInlet):
        found["one_replica_mb"] = pss_mb(served.replicas())
        served.scale(plan.replicas)
        found["replicas"] = plan.replicas
        found["replicas_mb"] = pss_mb(served.replicas())
    return found


def _all_lengths(case: Case, count: int) -> list[Call]:
    """Mostly mixed traffic, with every length that there is among it."""
    calls = [call for of in (MIXED, *map(str, LENGTHS)) for call in case.calls(of)]
    return [calls[number % len(calls)] for number in range(count)]


def _idle(served: Served, seconds: float) -> float:
    """Processor time that it takes while nobody calls, as a share of one core."""

    def spent() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in served.processes())

    before, begin = spent(), time.perf_counter()
    time.sleep(seconds)
    return (spent() - before) / (time.perf_counter() - begin)
