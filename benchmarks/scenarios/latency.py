"""One caller, one request at a time, texts of one length: what `ab -c 1` measures, with and without a kept connection."""

from __future__ import annotations

from typing import Any

from benchmarks.scenarios.case import Case


def latency(case: Case) -> dict[str, Any]:
    """By length in tokens; `{length} connecting` opens a connection for each request."""
    plan = case.plan
    found = {}
    for length in map(str, plan.latency_lengths):
        found[length] = case.told(case.closed(case.repeated(length, plan.latency_requests)))
    for length in map(str, plan.connect_lengths):
        calls = case.repeated(length, plan.latency_requests, keep_alive=False)
        found[f"{length} connecting"] = case.told(case.closed(calls))
    return found
