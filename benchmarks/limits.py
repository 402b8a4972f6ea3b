"""What the machine could do at most: measured rates of matrix products and of memory, and what a request needs of them.

Measured before and after each run by `rounds`; a figure of a report is said as a share of these limits. The work of a
request is counted from the model's shape: a product of n × k by k × m is 2·n·k·m operations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.model import HIDDEN, INTERMEDIATE, LAYERS
from benchmarks.session import variant
from inlet.runtime.engines.base import IntArray
from inlet.runtime.engines.openvino.engine import can_bf16
from inlet.runtime.engines.openvino.graph import OpenVinoGraph

MAX_DRIFT = 0.05
_LINEAR = LAYERS * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INTERMEDIATE)  # weights of the encoder's linear layers
_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
_ROWS, _SIDE, _DEPTH = 512, 1024, 16  # of the product that is timed: square, and larger than any cache in all
_SECONDS, _LEAST_CALLS = 1.0, 5


@dataclass(frozen=True, slots=True)
class Limits:
    """`gops`: 10^9 operations a second by precision, all `threads` together; `bandwidth`: GB/s, read plus written."""

    threads: int
    gops: dict[str, float]
    bandwidth: float

    def request_ms(self, tokens: int, precision: str) -> float:
        """The least that one text takes: all of the linear layers and of attention, or reading all weights once."""
        # Attention is computed in what is not quantised.
        attention = "fp32" if precision == "fp32" else "bf16" if "bf16" in self.gops else "fp32"
        compute = (
            2 * _LINEAR * tokens / self.gops[precision]
            + 4 * LAYERS * HIDDEN * tokens * tokens / self.gops[attention]
        ) / 1e6
        return max(compute, _LINEAR * _BYTES[precision] / self.bandwidth / 1e6)

    def drift(self, other: Limits) -> float:
        """The largest relative difference of any rate."""
        pairs = [(self.gops[name], other.gops[name]) for name in self.gops]
        pairs.append((self.bandwidth, other.bandwidth))
        return max(abs(b / a - 1) for a, b in pairs)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def measure(threads: int) -> Limits:
    """Some seconds; the best rate of each, because a limit is what was possible at all."""
    precisions = [name for name in _BYTES if name != "bf16" or can_bf16()]
    return Limits(threads, {name: _products(name, threads) for name in precisions}, _copying())


def _products(precision: str, threads: int) -> float:
    """A chain of products through the engine itself, with the settings of that precision."""
    rng = np.random.default_rng(1)
    graph = OpenVinoGraph()
    x = graph.lookup(rng.standard_normal((_ROWS, _SIDE), dtype=np.float32), graph.ids())
    none = np.zeros(_SIDE, np.float32)
    for _ in range(_DEPTH):
        weight = rng.standard_normal((_SIDE, _SIDE), dtype=np.float32) / np.float32(np.sqrt(_SIDE))
        x = graph.linear(x, weight, none)
    model = graph.model(x)
    if precision == "int8":
        model = model.quantised()
    lane = model.compile(variant(precision, _SIDE), threads=threads).lanes()[0]
    ids: IntArray = np.arange(_ROWS, dtype=np.int64)[None]
    shortest = _shortest(lambda: lane.infer(ids, ids, ids))
    return 2 * _ROWS * _SIDE * _SIDE * _DEPTH / shortest / 1e9


def _copying() -> float:
    """Of one thread; more threads gain little where memory is the limit."""
    source = np.ones(32_000_000, np.float64)
    target = np.ones_like(source)  # written once, so that the system has given it real memory
    return 2 * source.nbytes / _shortest(lambda: np.copyto(target, source)) / 1e9


def _shortest(run: Callable[[], object]) -> float:
    """Seconds of the quickest of many calls."""
    times: list[float] = []
    while sum(times) < _SECONDS or len(times) < _LEAST_CALLS:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)
