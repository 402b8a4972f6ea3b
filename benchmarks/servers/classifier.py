"""What stands behind every server: a text in, the best label out. Told by variables, which reach worker processes too.

`BENCH_MODEL`: folder; `BENCH_PORT`; `BENCH_KIND`: `documented` (a transformers pipeline as the documentation shows it),
`tuned` (the same with what helps it here) or `inlet` (Inlet's engine instead, so that only the servers differ);
`BENCH_PRECISION`: of the last two.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

Classify: TypeAlias = Callable[[str], dict[str, Any]]


def port() -> int:
    """Where to listen."""
    return int(os.environ["BENCH_PORT"])


def is_documented() -> bool:
    """Whether the server is to be set up as its documentation shows it."""
    return os.environ["BENCH_KIND"] == "documented"


def classifier() -> Classify:
    """Load it; any thread may call the result."""
    model, precision = os.environ["BENCH_MODEL"], os.environ["BENCH_PRECISION"]
    if is_documented():
        return _pipeline(model)
    classify = _inlet(model, precision) if os.environ["BENCH_KIND"] == "inlet" else _tuned(model, precision)
    turn = threading.Lock()  # several at once would share the same processors

    def one_at_a_time(text: str) -> dict[str, Any]:
        with turn:
            return classify(text)

    return one_at_a_time


def _pipeline(model: str, **more: Any) -> Classify:
    from transformers import pipeline

    made = pipeline("text-classification", model=model, device="cpu", **more)
    return lambda text: made(text)[0]


def _tuned(model: str, precision: str) -> Classify:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    classify = _pipeline(model, torch_dtype=torch.bfloat16 if precision == "bf16" else torch.float32)

    def without_gradients(text: str) -> dict[str, Any]:
        with torch.inference_mode():
            return classify(text)

    return without_gradients


def _inlet(model: str, precision: str) -> Classify:
    from pathlib import Path

    from benchmarks.session import Session

    return Session(Path(model), precision, len(os.sched_getaffinity(0))).classify
