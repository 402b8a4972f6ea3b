"""The seam of what is measured side by side: a server (`case`) or the bare engine (`engine`), and how they take turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from benchmarks.load import Samples
from benchmarks.plan import Plan
from benchmarks.workload import Workload

# After another one's turn: caches and clock have to become its own again.
AGAIN = 3


class Contender(Protocol):
    """Something that answers texts. `precision`: what it computes in, and so what its answers are compared as."""

    precision: str
    workload: Workload

    def lengths(self, plan: Plan) -> Sequence[str]:
        """What it can be asked one by one: a length in tokens, and what else the plan wants of it."""

    def one_by_one(self, length: str, count: int, first: int) -> Samples:
        """`count` texts of that length, round and round, from the `first` on."""

    def loads(self, plan: Plan) -> Sequence[str]:
        """The ways to keep it busy: numbers of connections, or of the bare engine's sessions."""

    def busy(self, load: str, seconds: float) -> Samples:
        """Mixed texts, as many as it answers in that time."""

    def told(self, slices: Sequence[Samples]) -> dict[str, Any]:
        """Figures of all slices together, and the verdict on the answers."""


Turn: TypeAlias = Callable[[int], Samples]
K = TypeVar("K")


def in_turns(turns: Mapping[K, Turn], blocks: int) -> dict[K, list[Samples]]:
    """Each once a block, in an order that rotates; a turn gets the block's number. The slices of each, by block."""
    slices: dict[K, list[Samples]] = {key: [] for key in turns}
    keys = list(turns)
    for block in range(blocks):
        first = block % len(keys)
        for key in keys[first:] + keys[:first]:
            slices[key].append(turns[key](block))
    return slices


def told(contender: Contender, slices: Sequence[Samples]) -> dict[str, Any]:
    """Its figures, and `blocks`: what it did in each block, to be compared with what others did in the same one."""
    return {
        **contender.told(slices),
        "blocks": {
            "p50": [float(np.nanmedian(samples.answer_ms())) for samples in slices],
            "per_second": [float(samples.answered().sum() / samples.seconds()) for samples in slices],
        },
    }
