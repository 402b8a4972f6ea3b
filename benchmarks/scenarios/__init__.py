"""What is done to a system that serves: one function per scenario, all of the same shape, listed in `SCENARIOS`.

Each gets a `Case` and gives figures for the result's JSON; none of them starts or stops a server. They are done in the
order of the list: the last ones leave a server in another state than they found it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from benchmarks.scenarios.case import Case
from benchmarks.scenarios.latency import latency
from benchmarks.scenarios.load import load
from benchmarks.scenarios.memory import memory
from benchmarks.scenarios.overload import overload
from benchmarks.scenarios.start import start
from benchmarks.scenarios.throughput import throughput

Scenario: TypeAlias = Callable[[Case], dict[str, Any]]

SCENARIOS: Mapping[str, Scenario] = {
    "latency": latency,
    "throughput": throughput,
    "load": load,
    "overload": overload,
    "start": start,
    "memory": memory,
}
