"""Texts of mixed lengths, so many connections at once, each always busy: requests and tokens a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.load import Samples
from benchmarks.plan import Plan
from benchmarks.scenarios.contender import AGAIN, Contender, Turn, in_turns, told
from benchmarks.workload import MIXED


def throughput(contenders: Mapping[str, Contender], plan: Plan) -> dict[str, dict[str, Any]]:
    """By contender and number of connections, or of the bare engine kind of session."""
    turns = {
        (name, load): _turn(each, load, plan.throughput_s)
        for name, each in contenders.items()
        for load in each.loads(plan)
    }
    found: dict[str, dict[str, Any]] = {name: {} for name in contenders}
    for (name, load), slices in in_turns(turns, plan.blocks).items():
        found[name][load] = told(contenders[name], slices)
    return found


def _turn(contender: Contender, load: str, seconds: float) -> Turn:
    def turn(_: int) -> Samples:
        contender.one_by_one(MIXED, AGAIN, 0)
        return contender.busy(load, seconds)

    return turn
