"""Texts of mixed lengths, so many connections at once, each always busy: requests and tokens a second."""

from __future__ import annotations

from typing import Any

from benchmarks.scenarios.case import Case
from benchmarks.workload import MIXED


def throughput(case: Case) -> dict[str, Any]:
    """By number of connections."""
    return {
        str(connections): case.told(
            case.closed(case.calls(MIXED), connections=connections, seconds=case.plan.throughput_s)
        )
        for connections in case.plan.connections
    }
