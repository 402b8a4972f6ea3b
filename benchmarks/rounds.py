"""Does what a plan says, in rounds, each with every system started afresh, and keeps everything in one JSON.

A round has passes: some systems that are up together and take turns, among them always those that all others are compared
with. Then what needs the machine for itself, system by system. Called by `__main__`. What cannot be installed or started
is noted with its reason and left out from then on.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import limits, stall
from benchmarks.engine import BareEngine
from benchmarks.machine import Disturbance, conditions, on, server_cores
from benchmarks.plan import Plan
from benchmarks.prepare import workload
from benchmarks.report import OURS, REFERENCE
from benchmarks.scenarios import ALONE, SIDE_BY_SIDE
from benchmarks.scenarios.case import Case
from benchmarks.scenarios.contender import Contender
from benchmarks.systems.base import NotMeasured
from benchmarks.systems.program import Program
from benchmarks.systems.registry import ENGINES, SYSTEMS
from benchmarks.workload import MIXED, TOLERANCE, Workload
from inlet.core.errors import Refused

ANCHORS = (REFERENCE, OURS)
_WARM_UP_CONNECTIONS = "16"
MAX_STEAL = 0.01
MAX_LOAD = 0.3


def passes(names: Sequence[str], together: int) -> list[list[str]]:
    """Groups of at most so many, each with those of `ANCHORS` that are among the names."""
    anchors = [name for name in ANCHORS if name in names]
    others = [name for name in names if name not in anchors]
    size = max(1, together - len(anchors))
    return [anchors + others[first : first + size] for first in range(0, max(1, len(others)), size)]


def run(plan: Plan, path: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all and keep `path` up to date after each step; the result."""
    return _Run(plan, path, say).run()


class _Run:
    def __init__(self, plan: Plan, path: Path, say: Callable[[str], None]) -> None:
        self._plan, self._path, self._say = plan, path, say
        self._left = list(plan.systems)
        self._passes = 0
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
            order = self._left[turn:] + self._left[:turn]
            for names in passes(order, self._plan.together):
                self._say(f"round {number + 1} of {self._plan.rounds}: {', '.join(names)}")
                self._side_by_side(names, work, number)
            for name in [name for name in order if name in SYSTEMS and name in self._left]:
                self._alone(name, work, number)
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

    def _side_by_side(self, names: Sequence[str], work: Workload, number: int) -> None:
        """All of them up until the last turn is taken."""
        wanted = {key: contest for key, contest in SIDE_BY_SIDE.items() if key in self._plan.scenarios}
        if not wanted:
            return
        disturbance = Disturbance()
        with ExitStack() as stack:
            contenders: dict[str, Contender] = {}
            found: dict[str, dict[str, Any]] = {}
            for name in names:
                self._say(f"    starting {name}")
                begin = time.perf_counter()
                try:
                    contenders[name] = self._contender(name, work, number, stack)
                except (NotMeasured, Refused) as reason:
                    self._leave_out(name, reason)
                else:
                    found[name] = {"start_s": time.perf_counter() - begin}
            for key, contest in wanted.items():
                self._say(f"    {key}")
                for name, figures in contest(contenders, self._plan).items():
                    found[name][key] = figures
        self._passes += 1
        for name, figures in found.items():
            more = {"pass": self._passes, "disturbance": disturbance.as_json()}
            self._keep(name, contenders[name].precision, figures | more)

    def _contender(self, name: str, work: Workload, number: int, stack: ExitStack) -> Contender:
        """Started and warm."""
        of = (*map(str, self._plan.latency_lengths), MIXED)
        if name in ENGINES:
            engine = BareEngine(work, ENGINES[name])
            engine.warm_up(of, self._plan.warm_up)
            return engine
        served = stack.enter_context(SYSTEMS[name].serve(work.model))
        return self._warm(Case(served, work, self._plan, seed=1000 * number), of)

    def _warm(self, case: Case, of: Sequence[str]) -> Case:
        for length in of:
            case.closed(case.repeated(length, self._plan.warm_up))
        case.busy(_WARM_UP_CONNECTIONS, self._plan.warm_up_s)
        return case

    def _alone(self, name: str, work: Workload, number: int) -> None:
        wanted = {key: scenario for key, scenario in ALONE.items() if key in self._plan.scenarios}
        if not wanted:
            return
        self._say(f"round {number + 1} of {self._plan.rounds}: {name} alone")
        disturbance = Disturbance()
        try:
            with SYSTEMS[name].serve(work.model) as served:
                case = Case(served, work, self._plan, seed=1000 * number)
                self._warm(case, (*map(str, self._plan.latency_lengths), MIXED))
                found: dict[str, Any] = {}
                for key, scenario in wanted.items():
                    self._say(f"    {key}")
                    found[key] = scenario(case)
        except (NotMeasured, Refused) as reason:
            self._leave_out(name, reason)
            return
        self._keep(name, case.precision, found | {"disturbance": disturbance.as_json()})

    def _keep(self, name: str, precision: str, figures: dict[str, Any]) -> None:
        note = SYSTEMS[name].note if name in SYSTEMS else "in process, no server"
        kept = self._result["systems"].setdefault(
            name, {"precision": precision, "note": note, "packages": _packages(name), "rounds": []}
        )
        kept["rounds"].append(figures)
        self._write()

    def _leave_out(self, name: str, reason: Exception) -> None:
        self._say(f"    not measured: {reason}")
        self._left.remove(name)
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
