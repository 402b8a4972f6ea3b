"""Does what a plan says: rounds over all systems in rotated order, each started afresh, everything kept in one JSON.

Called by `__main__`. What cannot be installed or started is noted with its reason and left out, in every round.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import limits, stall
from benchmarks.engine import BareEngine
from benchmarks.machine import Disturbance, conditions, on, server_cores
from benchmarks.plan import Plan
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.case import Case
from benchmarks.systems.base import NotMeasured, System
from benchmarks.systems.program import Program
from benchmarks.systems.registry import ENGINES, SYSTEMS
from benchmarks.workload import MIXED, TOLERANCE, Workload, workload
from inlet.core.errors import Refused

MAX_STEAL = 0.01
MAX_LOAD = 0.3


def run(plan: Plan, path: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all and keep `path` up to date after each step; the result."""
    return _Run(plan, path, say).run()


class _Run:
    def __init__(self, plan: Plan, path: Path, say: Callable[[str], None]) -> None:
        self._plan, self._path, self._say = plan, path, say
        self._left = list(plan.systems)
        self._result: dict[str, Any] = {"plan": asdict(plan), "systems": {}, "not_measured": {}}

    def run(self) -> dict[str, Any]:
        result, disturbance = self._result, Disturbance()
        self._install()
        result["conditions"] = conditions()
        self._say(f"load {result['conditions']['load']}; checking the generator, then the machine's limits")
        result["generator"] = asdict(stall.check())
        before = self._limits("before")
        work = workload(len(server_cores()), self._say)
        result["distinguishable"] = {name: work.distinguishable(name) for name in TOLERANCE}
        for number in range(self._plan.rounds):
            turn = number % max(1, len(self._left))
            for name in self._left[turn:] + self._left[:turn]:
                self._say(f"round {number + 1} of {self._plan.rounds}: {name}")
                self._measure(name, work, number)
        drift = before.drift(self._limits("after"))
        result |= {"drift": drift, **disturbance.as_json()}
        result["disturbed"] = _why_disturbed(result)
        self._write()
        return result

    def _limits(self, when: str) -> limits.Limits:
        with on(server_cores()):
            found = limits.measure(len(server_cores()))
        self._result.setdefault("limits", {})[when] = found.as_json()
        return found

    def _install(self) -> None:
        for name in list(self._left):
            if name in ENGINES:
                continue
            try:
                SYSTEMS[name].install()
            except NotMeasured as reason:
                self._leave_out(name, reason)

    def _measure(self, name: str, work: Workload, number: int) -> None:
        disturbance = Disturbance()
        try:
            if name in ENGINES:
                found = BareEngine(work.model, ENGINES[name]).measure(work, self._plan)
                note = "in process, no server"
            else:
                found, note = self._served(SYSTEMS[name], work, number), SYSTEMS[name].note
        except (NotMeasured, Refused) as reason:
            self._leave_out(name, reason)
            return
        kept = self._result["systems"].setdefault(
            name, {"precision": found["precision"], "note": note, "packages": _packages(name), "rounds": []}
        )
        kept["rounds"].append({**found, "disturbance": disturbance.as_json()})
        self._write()

    def _served(self, system: System, work: Workload, number: int) -> dict[str, Any]:
        began = time.perf_counter()
        with system.serve(work.model) as served:
            found: dict[str, Any] = {"start_s": time.perf_counter() - began, "precision": served.precision}
            case = Case(served, work, self._plan, seed=1000 * number)
            for of in (*map(str, self._plan.latency_lengths), MIXED):
                case.closed(case.repeated(of, self._plan.warm_up))
            for name, scenario in SCENARIOS.items():
                if name in self._plan.scenarios:
                    self._say(f"    {name}")
                    found[name] = scenario(case)
        return found

    def _leave_out(self, name: str, reason: Exception) -> None:
        self._say(f"    not measured: {reason}")
        self._left.remove(name)
        self._result["systems"].pop(name, None)
        self._result["not_measured"][name] = str(reason)
        self._write()

    def _write(self) -> None:
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self._result, indent=1) + "\n")
        unfinished.rename(self._path)


def _packages(name: str) -> list[str]:
    """Everything in the system's environment, for those who want to repeat it."""
    system = SYSTEMS.get(name)
    if not isinstance(system, Program):
        return []
    words = [system.environment.python(), "-m", "pip", "freeze", "--disable-pip-version-check"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def _why_disturbed(result: dict[str, Any]) -> list[str]:
    """In words, what makes the figures doubtful."""
    load = result["conditions"]["load"]
    checks = {
        f"the machine's limits changed by {result['drift']:.0%} during the run": result["drift"]
        > limits.MAX_DRIFT,
        f"the host took {result['steal']:.1%} of the processors": result["steal"] > MAX_STEAL,
        f"the load was {load} before the run began": load > MAX_LOAD,
        "the generator was late on the server that stalls": not result["generator"]["valid"],
    }
    return [why for why, holds in checks.items() if holds]
