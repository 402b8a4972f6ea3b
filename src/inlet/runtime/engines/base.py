"""The seam between an engine and the rest of the replica: how a graph is described, and how it is run.

`build/` describes a graph to a `GraphMaker` without knowing the engine; `batcher` runs the result through lanes. An
engine must never decide what is batched, and must give a row the same answer whatever the other rows are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]
Array: TypeAlias = npt.NDArray[Any]

N = TypeVar("N")  # a node of the engine's own graph; opaque to everybody else


class GraphMaker(Protocol[N]):
    """The few operations that encoders are made of. Sizes: B texts, L tokens, H hidden, A heads.

    Weights are float32 arrays; linear weights are [out, in] as in the checkpoint. Arrays may be views of a mapped file
    and must stay unchanged while the graph lives.
    """

    def ids(self) -> N:
        """The input of token ids, int64 [B, L]."""

    def token_types(self) -> N:
        """The input of token type ids, int64 [B, L]."""

    def mask_bias(self) -> N:
        """[B, 1, 1, L]: 0 where the input mask is 1, a very negative number where it is 0."""

    def lookup(self, table: Array, indices: N) -> N:
        """Rows of `table` [n, H] at `indices` [B, L]: [B, L, H]."""

    def positions(self, ids: N) -> N:
        """0, 1, 2, … along L: [1, L]."""

    def add(self, a: N, b: N) -> N:
        """Elementwise, with broadcasting."""

    def linear(self, x: N, weight: Array, bias: Array, *, name: str) -> N:
        """Multiply by the transposed weight and add the bias. `name`: the layer's, as in the checkpoint."""

    def layer_norm(self, x: N, weight: Array, bias: Array, eps: float) -> N:
        """Over the last axis."""

    def activation(self, name: str, x: N) -> N:
        """One of `ACTIVATIONS`."""

    def attention(self, q: N, k: N, v: N, heads: int, bias: N) -> N:
        """Scaled dot-product attention over [B, L, H] inputs split into `heads`."""

    def first_token(self, x: N) -> N:
        """[B, L, H] to [B, H]: the first token of each text."""


# Names as configurations spell them. `gelu_new` and `gelu_pytorch_tanh` are the same tanh approximation.
ACTIVATIONS = frozenset({"gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "tanh"})


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to compute a graph. `precision` is what people see and pin: fp32, bf16 or int8 (the weights').

    `compute` is what everything else is computed in, f32 or bf16; `group`: how many neighbouring numbers of an activation
    share a scale, int8 only; `spared`: ends of the names of layers whose weights stay float.
    """

    engine: str
    precision: str
    compute: str = "f32"
    group: int = 0
    spared: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Short, unique among the variants of one graph."""
        parts = [self.engine, self.precision]
        if self.precision == "int8":
            parts += [self.compute, f"g{self.group}", *(["spared"] if self.spared else [])]
        return "-".join(parts)


class Lane(Protocol):
    """Runs one batch at a time; used by one thread at a time."""

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> FloatArray:
        """Row per text; the array is overwritten by this lane's next call."""


class Engine(Protocol):
    """A compiled model."""

    variant: Variant
    threads: int

    def lanes(self) -> Sequence[Lane]:
        """Every lane of this engine, always the same ones."""


class Graph(Protocol):
    """A model that is not compiled yet. It is never changed: what was quantised is another graph."""

    def quantised(self, spared: Collection[str] = ()) -> Graph:
        """The same with int8 weights; layers whose name ends in one of `spared` keep theirs."""

    def save(self, path: Path) -> None:
        """Write it in the engine's own format, with every weight as it is."""

    def compile(self, variant: Variant, *, threads: int, cache: Path | None = None) -> Engine:
        """Make it run. `cache`: folder of what the engine may keep for its next start."""
