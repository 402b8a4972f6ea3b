"""What is done to systems: functions that give figures for the result's JSON. None of them starts or stops a server.

Those of `SIDE_BY_SIDE` get several contenders that are all up, and let them take turns in short blocks: the speed of
a machine that others share changes within seconds, and so only what is measured within the same seconds compares.
Those of `ALONE` get one server that has the machine to itself, in the order of the list: the last ones leave a server
in another state than they found it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from benchmarks.plan import Plan
from benchmarks.scenarios.case import Case
from benchmarks.scenarios.contender import Contender
from benchmarks.scenarios.latency import latency
from benchmarks.scenarios.load import load
from benchmarks.scenarios.memory import memory
from benchmarks.scenarios.overload import overload
from benchmarks.scenarios.start import start
from benchmarks.scenarios.throughput import throughput

Contest: TypeAlias = Callable[[Mapping[str, Contender], Plan], dict[str, dict[str, Any]]]
Scenario: TypeAlias = Callable[[Case], dict[str, Any]]

SIDE_BY_SIDE: Mapping[str, Contest] = {"latency": latency, "throughput": throughput}
ALONE: Mapping[str, Scenario] = {"load": load, "overload": overload, "start": start, "memory": memory}
