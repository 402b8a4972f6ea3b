"""Scores of a vocabulary's words at masks, from what the graph of `Head.MASKED` gives there. Plain numpy; knows no engine.

Made by `model`, used by the task and by the gate. Its table is a view of the checkpoint, not a part of the graph: scores
are wanted at a mask or two of a text, and for all its tokens they would fill the memory.
"""

from __future__ import annotations

from typing import Self

from inlet.core.errors import Refused
from inlet.runtime.build.config import EncoderShape
from inlet.runtime.build.families import MaskedHead
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import FloatArray


class Decoder:
    """`table` [V, E] and `bias` [V]."""

    def __init__(self, table: FloatArray, bias: FloatArray) -> None:
        self._table, self._bias = table, bias

    @classmethod
    def of(cls, shape: EncoderShape, weights: Weights, *, tied: bool) -> Self:
        """That of a checkpoint; `tied`: its table is that of the embeddings. `Refused` when it has none."""
        head = shape.family.masked
        found = [name for name in bias_names(head) if name in weights]
        if not found:
            raise Refused(
                f"the weights have no {bias_names(head)[0]}: the model was not trained to fill masks",
                field="task",
            )
        word = f"{shape.family.word}.weight"
        embeddings = word if word in weights else shape.family.prefix + word
        name = embeddings if tied else f"{head.decoder}.weight"
        return cls(
            weights.take(name, (shape.vocabulary, shape.embedding)),
            weights.take(found[0], (shape.vocabulary,)),
        )

    @property
    def words(self) -> int:
        """V."""
        return len(self._bias)

    def logits(self, rows: FloatArray) -> FloatArray:
        """[n, V] for [n, E]."""
        scores: FloatArray = rows @ self._table.T + self._bias
        return scores


def bias_names(head: MaskedHead) -> tuple[str, ...]:
    """Names that the bias may have: it belongs to the decoder, or stands beside it."""
    return tuple(
        dict.fromkeys(f"{name}.bias" for name in (head.decoder.removesuffix(".decoder"), head.decoder))
    )
