"""One system that serves, what it is asked, and how what came back is told. Used by every scenario."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.figures import quantiles
from benchmarks.load import Call, Samples
from benchmarks.machine import generator_cores, on
from benchmarks.plan import Plan
from benchmarks.systems.base import NotMeasured, Served
from benchmarks.workload import MIXED, Answer, Workload

_KNEE_CONNECTIONS = 16
_KNEE_S = 20.0
_CONNECTING = "connecting"


def tell(
    slices: Sequence[Samples], workload: Workload, read: Callable[[bytes], Answer], precision: str
) -> dict[str, Any]:
    """Of all slices together; rates are of the time within them. `read` makes an answer of a body."""
    samples = Samples()
    for each in slices:
        samples.extend(each)
    answered, seconds = samples.answered(), sum(each.seconds() for each in slices)
    tokens = np.array(workload.tokens)[samples.text][answered].sum()
    verdict = workload.check(samples, read, precision)
    return {
        **quantiles(samples.answer_ms()),
        "per_second": float(answered.sum() / seconds),
        "tokens_per_second": float(tokens / seconds),
        "answers": asdict(verdict),
        "good": verdict.good,
    }


@dataclass
class Case:
    """`seed`: of arrival times; another one in each round, the same for all systems of a round."""

    served: Served
    workload: Workload
    plan: Plan
    seed: int
    _knee: float | None = field(default=None, init=False)

    def calls(self, of: str, *, keep_alive: bool = True, patience: float | None = None) -> list[Call]:
        """One for each text of that length in tokens, or of the mixture.

        `patience`: seconds within which its work must begin, said in a header that servers other than Inlet do not know.
        """
        dialect = self.served.dialect
        if patience is not None:
            dialect = replace(dialect, headers=(*dialect.headers, ("X-Inlet-Timeout", str(patience))))
        return [
            dialect.call(self.workload.texts[number], number, keep_alive=keep_alive)
            for number in self.workload.of[of]
        ]

    def repeated(self, of: str, count: int, first: int = 0, *, keep_alive: bool = True) -> list[Call]:
        """`count` of them, round and round, from the `first` on."""
        calls = self.calls(of, keep_alive=keep_alive)
        return [calls[number % len(calls)] for number in range(first, first + count)]

    def closed(self, calls: Sequence[Call], *, connections: int = 1, seconds: float | None = None) -> Samples:
        with on(generator_cores()):
            return load.closed_loop(self.served.port, calls, connections=connections, seconds=seconds)

    def open(self, calls: Sequence[Call], times: Sequence[float]) -> Samples:
        with on(generator_cores()):
            return load.open_loop(self.served.port, calls, times)

    @property
    def precision(self) -> str:
        return self.served.precision

    def lengths(self, plan: Plan) -> list[str]:
        return [
            *map(str, plan.latency_lengths),
            *(f"{length} {_CONNECTING}" for length in plan.connect_lengths),
        ]

    def one_by_one(self, length: str, count: int, first: int) -> Samples:
        of, _, connecting = length.partition(" ")
        return self.closed(self.repeated(of, count, first, keep_alive=not connecting))

    def loads(self, plan: Plan) -> list[str]:
        return list(map(str, plan.connections))

    def busy(self, load: str, seconds: float) -> Samples:
        return self.closed(self.calls(MIXED), connections=int(load), seconds=seconds)

    def told(self, slices: Sequence[Samples]) -> dict[str, Any]:
        """Latencies in ms of what was answered, rates, and the verdict on the answers."""
        return tell(slices, self.workload, self.served.dialect.read_bytes, self.precision)

    def told_open(self, samples: Samples) -> dict[str, Any]:
        """The same of an open loop, and whether the generator kept its schedule."""
        lags = samples.lags_ms()
        return {
            **self.told([samples]),
            "lag_p99": float(np.quantile(lags, 0.99)),
            "valid": load.is_on_time(lags, samples.latencies_ms()),
        }

    def knee(self) -> float:
        """The highest rate of mixed requests, per second: a closed loop that keeps the server busy."""
        if self._knee is None:
            samples = self.closed(self.calls(MIXED), connections=_KNEE_CONNECTIONS, seconds=_KNEE_S)
            if not samples.answered().any():
                raise NotMeasured("it answered nothing under full load")
            self._knee = float(samples.answered().sum() / samples.seconds())
        return self._knee
