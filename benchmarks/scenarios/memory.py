"""Memory that a server takes: fresh, after many requests of one caller, then of many at once, idle, and several replicas."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.load import Call
from benchmarks.machine import pss_mb
from benchmarks.model import LONGEST
from benchmarks.scenarios.case import Case
from benchmarks.systems.base import Served
from benchmarks.systems.product import ServedByInlet
from benchmarks.workload import LENGTHS, MIXED

_CONNECTIONS = 8
_SHORT = 256  # tokens


def memory(case: Case) -> dict[str, Any]:
    """PSS in MB of all processes of the server: what they share is counted once."""
    served, plan = case.served, case.plan
    found: dict[str, Any] = {"fresh_mb": pss_mb(served.processes())}
    rounds = []
    for name, longest, connections in (
        ("short_mb", _SHORT, 1),
        ("alone_mb", LONGEST, 1),
        ("after_mb", LONGEST, _CONNECTIONS),
    ):
        calls = _all_lengths(case, longest, plan.memory_requests)
        rounds.append(case.closed(calls, connections=connections))
        found[name] = pss_mb(served.processes())
        if isinstance(served, ServedByInlet):
            found[f"replica_{name}"] = pss_mb(served.replicas())
    told = case.told(rounds)
    found |= {
        "answers": told["answers"],
        "good": told["good"],
        "idle_cpu": _idle(served, plan.idle_s),  # not before: what was just started may still be warming up
    }
    if isinstance(served, ServedByInlet):
        served.scale(plan.replicas)
        found["replicas"] = plan.replicas
        found["replicas_mb"] = pss_mb(served.replicas())
    return found


def _all_lengths(case: Case, longest: int, count: int) -> list[Call]:
    """Mostly mixed traffic, with every length that there is among it, up to the longest."""
    workload, dialect = case.workload, case.served.dialect
    calls = [
        dialect.call(workload.texts[number], number)
        for of in (MIXED, *map(str, LENGTHS))
        for number in workload.of[of]
        if workload.tokens[number] <= longest
    ]
    return [calls[number % len(calls)] for number in range(count)]


def _idle(served: Served, seconds: float) -> float:
    """Processor time that it takes while nobody calls, as a share of one core."""

    def spent() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in served.processes())

    before, begin = spent(), time.perf_counter()
    time.sleep(seconds)
    return (spent() - before) / (time.perf_counter() - begin)
