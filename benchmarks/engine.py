"""The bare engine as a system of its own kind: no server, just calls in this process. The limit for all that serve it.

Used by `rounds`, which gets from it the same figures as from the scenarios `latency` and `throughput`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import quantiles
from benchmarks.load import Samples
from benchmarks.machine import on, server_cores
from benchmarks.plan import Plan
from benchmarks.session import Session
from benchmarks.systems.base import best
from benchmarks.workload import MIXED, Workload


class BareEngine:
    """One session of all processors for single calls; one of one processor each for throughput."""

    def __init__(self, model: Path, precision: str) -> None:
        self._model, self._precision = model, precision
        self._threads = len(server_cores())

    def measure(self, workload: Workload, plan: Plan) -> dict[str, Any]:
        """By scenario, as of a server; throughput for one wide session and for narrow ones side by side."""
        with on(server_cores()):
            wide = Session(self._model, self._precision, self._threads)
            _run(wide, workload, workload.of[MIXED])
            found: dict[str, Any] = {"precision": self._precision, "latency": {}, "throughput": {}}
            for length in map(str, plan.latency_lengths):
                numbers = list(islice(cycle(workload.of[length]), plan.latency_requests))
                _run(wide, workload, numbers[: plan.warm_up])
                found["latency"][length] = self._told(_run(wide, workload, numbers), workload)
            narrow = [Session(self._model, self._precision, 1) for _ in range(self._threads)]
            for session in narrow:
                _run(session, workload, workload.of[MIXED])
            for name, sessions in (("wide", [wide]), ("narrow", narrow)):
                samples = _side_by_side(sessions, workload, plan.throughput_s)
                found["throughput"][name] = self._told(samples, workload)
        return found

    def _told(self, samples: Samples, workload: Workload) -> dict[str, Any]:
        verdict = workload.check(samples, lambda body: best(json.loads(body)), self._precision)
        seconds, tokens = samples.seconds(), np.array(workload.tokens)[samples.text].sum()
        return {
            **quantiles(samples.latencies_ms()),
            "per_second": len(samples) / seconds,
            "tokens_per_second": float(tokens / seconds),
            "answers": asdict(verdict),
            "good": verdict.good,
        }


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
