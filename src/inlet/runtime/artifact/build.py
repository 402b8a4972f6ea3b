"""Makes one artifact: times variants, has them judged, takes the fastest that passed, writes its graph.

Called by `make`, in a process of its own. Fails closed: what was not judged, or did not pass, is not chosen, and in the
end there is always fp32, which is what the others are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inlet import __version__
from inlet.runtime.artifact import timing
from inlet.runtime.artifact.candidates import finer, int8_variants
from inlet.runtime.artifact.manifest import TRAFFIC, Manifest, Tried
from inlet.runtime.artifact.store import GRAPH
from inlet.runtime.artifact.trial import Trial
from inlet.runtime.contents import described
from inlet.runtime.engines.base import BF16, FP32, FloatArray, Lane, Variant
from inlet.runtime.engines.openvino.engine import can_bf16
from inlet.runtime.engines.openvino.model import OpenVinoModel
from inlet.runtime.model import Model

WORTH = 0.9  # a less exact variant must take less than this share of the time of a more exact one
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What to build; `name` is for people. `precision`: `auto`, or `int8` when a person has decided.

    `trials`: the sets of texts to judge by, by name.
    """

    name: str
    model: Model
    graph: OpenVinoModel
    key: Mapping[str, Any]
    precision: str
    threads: int
    trials: Mapping[str, Trial]


def build(order: Order, draft: Path, report: Report) -> Manifest:
    """Try, judge, choose; the files of what was chosen are in `draft` afterwards."""
    return _Build(order, report).run(draft)


class _Build:
    """One build. All engines stay in memory until it ends, because they are timed in turns."""

    def __init__(self, order: Order, report: Report) -> None:
        self._order, self._report = order, report
        self._graph = order.graph
        self._int8_graph = self._graph.quantised()
        self._lanes: dict[Variant, Lane] = {}
        self._reference: Mapping[str, Sequence[FloatArray]] = {}

    def run(self, draft: Path) -> Manifest:
        pinned = self._order.precision == "int8"
        int8 = int8_variants(self._order.model.shape.hidden, bf16=can_bf16())
        exact = [FP32] if pinned or not can_bf16() else [FP32, BF16]
        times = self._timed([*exact, *int8])
        self._report("computing the reference in fp32")
        reference = self._lanes[FP32]
        self._reference = {name: trial.run(reference) for name, trial in self._order.trials.items()}
        tried = [Tried(FP32, times[FP32]), *(self._judged(Tried(each, times[each])) for each in exact[1:])]
        bar = math.inf if pinned else WORTH * min(_time(item) for item in tried if _may_serve(item))
        tried += self._int8([Tried(each, times[each]) for each in int8], bar)
        chosen, reason = choose(tried, self._order.precision)
        if chosen.precision == "int8":
            self._report("writing the graph")
            self._int8_graph.save(draft / GRAPH)
        return Manifest(
            model=self._order.name,
            key=self._order.key,
            made_by=f"inlet {__version__}",
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            threads=self._order.threads,
            chosen=chosen,
            reason=reason,
            tried=tuple(tried),
            files=described(draft),
        )

    def _int8(self, timed: Sequence[Tried], bar: float) -> list[Tried]:
        """The fastest first; the rest is only judged while none has passed, and what is no gain is not judged."""
        results: list[Tried] = []
        for item in sorted(timed, key=_time):
            wanted = _time(item) < bar and not any(result.passed for result in results)
            results.append(self._judged(item) if wanted else item)
        step_back = finer(results[0].variant)
        if step_back is not None and _time(results[0]) < bar and not any(item.passed for item in results):
            item = Tried(step_back, self._timed([step_back])[step_back])
            results.append(self._judged(item) if _time(item) < bar else item)
        return results

    def _timed(self, variants: Sequence[Variant]) -> Mapping[Variant, Mapping[str, float]]:
        self._report(f"timing {', '.join(variant.name for variant in variants)}")
        for variant in variants:
            graph = self._int8_graph if variant.precision == "int8" else self._graph
            self._lanes[variant] = graph.compile(variant, threads=self._order.threads).lanes()[0]
        return timing.race(
            {variant: self._lanes[variant] for variant in variants}, positions=self._order.model.positions
        )

    def _judged(self, item: Tried) -> Tried:
        self._report(f"checking {item.variant.name} against fp32")
        lane = self._lanes[item.variant]
        verdicts = {
            name: trial.judge(lane, self._reference[name]) for name, trial in self._order.trials.items()
        }
        if TRAFFIC in verdicts:
            verdicts[TRAFFIC] = replace(verdicts[TRAFFIC], worst=())
        return replace(item, verdicts=verdicts)


def choose(tried: Sequence[Tried], precision: str) -> tuple[Variant, str]:
    """The fastest that passed, if it is worth it, and why in words. Pinned to int8, the best that there is of it."""
    if precision == "int8":
        int8 = [item for item in tried if item.variant.precision == "int8"]
        best = min(int8, key=lambda item: (not item.passed, _time(item)))
        passed = "it passed the check" if best.passed else "although it did not pass the check"
        return best.variant, f"pinned by INLET_PRECISION; {passed}"
    best = tried[0]
    for item in tried[1:]:  # from the most exact to the least
        if item.passed and _time(item) < WORTH * _time(best):
            best = item
    failed = sum(bool(item.verdicts) and not item.passed for item in tried)
    what = (
        f"{_time(tried[0]) / _time(best):.1f} times as fast as fp32"
        if best is not tried[0]
        else "nothing faster passed"
    )
    return best.variant, what + (f"; {failed} did not pass the check" if failed else "")


def _may_serve(item: Tried) -> bool:
    return item.passed or item.variant == FP32


def _time(item: Tried) -> float:
    return timing.mean(item.milliseconds)
