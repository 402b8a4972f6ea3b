"""One caller, one request at a time, texts of one length: what `ab -c 1` measures, with and without a kept connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.load import Samples
from benchmarks.plan import Plan
from benchmarks.scenarios.contender import AGAIN, Contender, Turn, in_turns, told


def latency(contenders: Mapping[str, Contender], plan: Plan) -> dict[str, dict[str, Any]]:
    """By contender and length in tokens; `{length} connecting` opens a connection for each request."""
    found: dict[str, dict[str, Any]] = {name: {} for name in contenders}
    for length in dict.fromkeys(key for each in contenders.values() for key in each.lengths(plan)):
        turns = {
            name: _turn(each, length, plan.latency_requests)
            for name, each in contenders.items()
            if length in each.lengths(plan)
        }
        for name, slices in in_turns(turns, plan.blocks).items():
            found[name][length] = told(contenders[name], slices)
    return found


def _turn(contender: Contender, length: str, count: int) -> Turn:
    def turn(block: int) -> Samples:
        contender.one_by_one(length, AGAIN, 0)
        return contender.one_by_one(length, count, block * count)

    return turn
