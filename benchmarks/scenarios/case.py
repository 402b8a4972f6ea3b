"""One system that serves, what it is asked, and how what came back is told. Used by every scenario."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.figures import quantiles
from benchmarks.load import Call, Samples
from benchmarks.machine import generator_cores, on
from benchmarks.plan import Plan
from benchmarks.systems.base import NotMeasured, Served
from benchmarks.workload import MIXED, Workload

_KNEE_CONNECTIONS = 16


@dataclass
class Case:
    """`seed`: of arrival times; another one in each round, the same for all systems of a round."""

    served: Served
    workload: Workload
    plan: Plan
    seed: int
    _knee: float | None = field(default=None, init=False)

    def calls(self, of: str, *, keep_alive: bool = True) -> list[Call]:
        """One for each text of that length in tokens, or of the mixture."""
        return [
            self.served.dialect.call(self.workload.texts[number], number, keep_alive=keep_alive)
            for number in self.workload.of[of]
        ]

    def repeated(self, of: str, count: int, *, keep_alive: bool = True) -> list[Call]:
        """`count` of them, round and round."""
        calls = self.calls(of, keep_alive=keep_alive)
        return (calls * math.ceil(count / len(calls)))[:count]

    def closed(self, calls: Sequence[Call], *, connections: int = 1, seconds: float | None = None) -> Samples:
        with on(generator_cores()):
            return load.closed_loop(self.served.port, calls, connections=connections, seconds=seconds)

    def open(self, calls: Sequence[Call], times: Sequence[float]) -> Samples:
        with on(generator_cores()):
            return load.open_loop(self.served.port, calls, times)

    def told(self, samples: Samples) -> dict[str, Any]:
        """Latencies in ms of what was answered, rates, the verdict on the answers, and the generator's lag."""
        latencies = np.where(samples.answered(), samples.latencies_ms(), np.nan)
        tokens = np.array(self.workload.tokens)[samples.text][samples.answered()].sum()
        seconds = samples.seconds()
        verdict = self.workload.check(samples, self.served.dialect.read_bytes, self.served.precision)
        return {
            **quantiles(latencies),
            "per_second": float(samples.answered().sum() / seconds),
            "tokens_per_second": float(tokens / seconds),
            "answers": asdict(verdict),
            "good": verdict.good,
        }

    def told_open(self, samples: Samples) -> dict[str, Any]:
        """The same of an open loop, and whether the generator kept its schedule."""
        lags = samples.lags_ms()
        return {
            **self.told(samples),
            "lag_p99": float(np.quantile(lags, 0.99)),
            "valid": load.is_on_time(lags, samples.latencies_ms()),
        }

    def knee(self) -> float:
        """The highest rate of mixed requests, per second: a closed loop that keeps the server busy."""
        if self._knee is None:
            samples = self.closed(
                self.calls(MIXED), connections=_KNEE_CONNECTIONS, seconds=self.plan.throughput_s
            )
            if not samples.answered().any():
                raise NotMeasured("it answered nothing under full load")
            self._knee = float(samples.answered().sum() / samples.seconds())
        return self._knee
