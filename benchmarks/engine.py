"""The bare engine as a contender: no server, just calls in this process. The limit for all that serve it.

Used by `rounds`, which has it take turns with servers in the scenarios `latency` and `throughput`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.load import Samples
from benchmarks.machine import on, server_cores
from benchmarks.plan import Plan
from benchmarks.scenarios.case import tell
from benchmarks.session import Session
from benchmarks.systems.base import best
from benchmarks.workload import MIXED, Workload

_WIDE, _NARROW = "wide", "narrow"


class BareEngine:
    """One session of all processors for single calls; for throughput that one, or one of one processor each."""

    def __init__(self, workload: Workload, precision: str) -> None:
        self.workload, self.precision = workload, precision
        threads = len(server_cores())
        with on(server_cores()):
            wide = Session(workload.model, precision, threads)
            narrow = [Session(workload.model, precision, 1) for _ in range(threads)]
        self._sessions: dict[str, list[Session]] = {_WIDE: [wide], _NARROW: narrow}

    def warm_up(self, of: Sequence[str], count: int) -> None:
        """`count` texts of each length on the wide session, mixed ones on the others: it compiles for each shape."""
        for length in of:
            self.one_by_one(length, count, 0)
        for session in self._sessions[_NARROW]:
            _run(session, self.workload, self.workload.of[MIXED])

    def lengths(self, plan: Plan) -> list[str]:
        return list(map(str, plan.latency_lengths))

    def one_by_one(self, length: str, count: int, first: int) -> Samples:
        texts = self.workload.of[length]
        numbers = [texts[number % len(texts)] for number in range(first, first + count)]
        with on(server_cores()):
            return _run(self._sessions[_WIDE][0], self.workload, numbers)

    def loads(self, _: Plan) -> list[str]:
        return [_WIDE, _NARROW]

    def busy(self, load: str, seconds: float) -> Samples:
        with on(server_cores()):
            return _side_by_side(self._sessions[load], self.workload, seconds)

    def told(self, slices: Sequence[Samples]) -> dict[str, Any]:
        return tell(slices, self.workload, lambda body: best(json.loads(body)), self.precision)


def _run(session: Session, workload: Workload, numbers: Sequence[int], until: float = np.inf) -> Samples:
    samples = Samples()
    for text in numbers:
        if time.perf_counter() > until:
            break
        number = samples.begin(text, time.perf_counter())
        answer = session.classify(workload.texts[text])
        samples.end(number, 200, json.dumps(answer).encode())
    return samples


def _side_by_side(sessions: Sequence[Session], workload: Workload, seconds: float) -> Samples:
    """All of them busy at once, each with a share of the texts, round and round."""
    found: list[Samples] = []
    until = time.perf_counter() + seconds

    def work(place: int) -> None:
        share = workload.of[MIXED][place :: len(sessions)]
        found.append(_run(sessions[place], workload, share * 10_000, until))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = Samples()
    for samples in found:
        together.extend(samples)
    return together
