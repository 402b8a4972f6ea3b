"""What serving costs a model that takes next to no time itself: requests a second of a scikit-learn classifier on one core.

    python -m benchmarks.tiny [--seconds 2] [--rounds 5]

A logistic regression on iris, made on the spot, as a private endpoint of a real installation. The replica has one core; with two
cores or more, caller and router have the others. In turns: `predict` alone, in a loop in this process on the replica's core,
and the endpoint through the router. Every answer is checked.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tests.e2e.installation import installation

from benchmarks.load import Call, closed_loop
from benchmarks.machine import on

_ROW = [5.1, 3.5, 1.4, 0.2]
_ANSWER = b"[0]"
_NAME = "iris"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    model = LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True))
    with (
        tempfile.TemporaryDirectory(prefix="inlet") as name,
        serving(Path(name), model, cores[-1]) as (port, token),
    ):
        ways: dict[str, Callable[[], float]] = {
            "predict alone": lambda: alone(model, cores[-1], flags.seconds),
            **{
                f"through the router, {connections} connection(s)": lambda connections=connections: served(
                    port, token, connections, flags.seconds, cores
                )
                for connections in (1, 8)
            },
        }
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(flags.rounds + 1):
            for way, measure in ways.items():
                found[way].append(measure())
    print(
        f"requests/s of a row, the replica on one core; medians of {flags.rounds} rounds in turns, least and most"
    )
    for way, rates in found.items():
        counted = rates[1:]  # the first one warms up
        print(f"  {way:36} {statistics.median(counted):7,.0f}  ({min(counted):,.0f} to {max(counted):,.0f})")


def alone(model: LogisticRegression, core: int, seconds: float) -> float:
    """Calls a second of `predict` with one row, the array included."""
    with on(frozenset({core})):
        begin, count = time.perf_counter(), 0
        while (now := time.perf_counter()) < begin + seconds:
            model.predict(np.array([_ROW]))
            count += 1
    return count / (now - begin)


def served(port: int, token: str, connections: int, seconds: float, cores: list[int]) -> float:
    """Answers a second with so many connections always busy."""
    body = json.dumps({"inputs": [_ROW]}).encode()
    head = (
        f"POST /default/{_NAME} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with on(frozenset(cores[:-1] or cores)):
        samples = closed_loop(port, [Call(head.encode() + body, 0)], connections=connections, seconds=seconds)
    wrong = {answer for answer in samples.body if answer != _ANSWER}
    if wrong:
        raise SystemExit(f"not the answer: {wrong.pop()!r}")
    return len(samples) / samples.seconds()


@contextmanager
def serving(folder: Path, model: LogisticRegression, core: int) -> Iterator[tuple[int, str]]:
    """The router's port and a token, while the endpoint runs with its replica on that core and all else on the others."""
    (folder / _NAME).mkdir()
    skops.io.dump(model, folder / _NAME / "model.skops")
    others = frozenset(os.sched_getaffinity(0)) - {core}
    with (
        on(others or frozenset({core})),
        installation(folder / "home", {"INLET_MODELS": str(folder)}) as running,
    ):
        running.create(
            _NAME, str(folder / _NAME), model__task="tabular-classification", model__framework="custom"
        )
        running.wait_for_state(_NAME, "running", within=600)
        for replica in running.replicas():
            for thread in replica.threads():
                os.sched_setaffinity(thread.id, {core})
        yield running.port, running.token("infer")


if __name__ == "__main__":
    main()
