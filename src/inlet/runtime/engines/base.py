"""The seam between an engine and the rest of the replica: how a graph is described, and how it is run.

`build/` describes a graph to a `GraphMaker` without knowing the engine; `batcher` runs the result through lanes. An
engine must never decide what is batched, and must give a row the same answer whatever the other rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    and must stay unchanged while the graph lives; the same array given twice is kept once.
    """

    def ids(self) -> N:
        """The input of token ids, int64 [B, L]."""

    def token_types(self) -> N:
        """The input of token type ids, int64 [B, L]."""

    def mask_bias(self) -> N:
        """[B, 1, 1, L]: 0 where the input mask is 1, a very negative number where it is 0."""

    def constant(self, values: Array) -> N:
        """The same numbers for every text."""

    def lookup(self, table: Array, indices: N) -> N:
        """Rows of `table` [n, H] at `indices` [B, L]: [B, L, H]."""

    def positions(self, ids: N) -> N:
        """0, 1, 2, … along L: [1, L]."""

    def positions_from_pad(self, ids: N, pad: int) -> N:
        """`pad` + 1, `pad` + 2, … for tokens other than `pad`, which have the position `pad`: [B, L]."""

    def distance_bias(self, ids: N, table: Array) -> N:
        """`table` [A, 2 P - 1] at P - 1 + key's position - query's, where P is no less than L: [1, A, L, L]."""

    def distance_scores(self, x: N, table: Array, rows: Array, heads: int) -> N:
        """Each token of `x` [B, L, H] times a row of `table` [n, H] for each token of its text: [B, A, L, L].

        The row is the one that `rows` [2 P] has at P - 1 + the other token's position - its own; P is no less than L.
        """

    def transpose(self, x: N) -> N:
        """The last two axes swapped."""

    def add(self, a: N, b: N) -> N:
        """Elementwise, with broadcasting."""

    def linear(self, x: N, weight: Array, bias: Array) -> N:
        """Multiply by the transposed weight and add the bias."""

    def layer_norm(self, x: N, weight: Array, bias: Array, eps: float) -> N:
        """Over the last axis."""

    def activation(self, name: str, x: N) -> N:
        """One of `ACTIVATIONS`."""

    def attention(self, q: N, k: N, v: N, heads: int, bias: N, *, scale: float) -> N:
        """Scaled dot-product attention over [B, L, H] inputs split into `heads`; `bias` comes after the scale."""

    def first_token(self, x: N) -> N:
        """[B, L, H] to [B, H]: the first token of each text."""


# Names as configurations spell them. `gelu_new` and `gelu_pytorch_tanh` are the same tanh approximation.
ACTIVATIONS = frozenset({"gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "tanh"})


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to compute a graph. `precision` is what people see and pin: fp32, bf16 or int8 (the weights').

    `compute` is what everything else is computed in, f32 or bf16; `group`: how many neighbouring numbers of an activation
    share a scale, int8 only.
    """

    engine: str
    precision: str
    compute: str = "f32"
    group: int = 0

    @property
    def name(self) -> str:
        """Short, unique among the variants of one graph."""
        int8 = (self.compute, f"g{self.group}") if self.precision == "int8" else ()
        return "-".join((self.engine, self.precision, *int8))


FP32 = Variant("openvino", "fp32")
BF16 = Variant("openvino", "bf16", "bf16")


class Lane(Protocol):
    """Runs one batch at a time; used by one thread at a time."""

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> FloatArray:
        """Row per text; the array is overwritten by this lane's next call."""


class Engine(Protocol):
    """A compiled model."""

    variant: Variant
    threads: int

    def lanes(self) -> Sequence[Lane]:
        """The wide lane, which uses every thread: one, always the same."""

    def narrow(self) -> Sequence[Lane]:
        """A lane of one thread for each thread, made anew; none where they are not worth their memory.

        Takes as long as a start, and may be called from any thread while the wide lane runs. Never to run at the same
        time as the wide lane.
        """


class Graph(Protocol):
    """A model that is not compiled yet."""

    def compile(self, variant: Variant, *, threads: int, cache: Path | None = None) -> Engine:
        """Make it run. `cache`: folder of what the engine may keep for its next start."""
