"""A set of texts, ready to be put to a model's variants: which rows they give, and what the gate says of them.

Called by the build. Texts are encoded as the model's tasks encode them, get the bucket that the batcher would give them,
and their rows are reduced as the task does; so what is judged is what callers would see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Self

import numpy as np

from inlet.core.errors import Invalid
from inlet.runtime.artifact.figures import Judged
from inlet.runtime.artifact.gate import Verdict, judge, judge_neighbours
from inlet.runtime.buckets import batch_sizes, bucket
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.base import FloatArray, Lane
from inlet.runtime.model import Model
from inlet.runtime.padding import padded
from inlet.runtime.scores import function_of
from inlet.runtime.texts import Encoded, Limit, Text

Reduce = Callable[[FloatArray, Encoded], FloatArray]
_SAID_S = 10.0  # between two words on how far it is
_BY_FUNCTION = {"softmax": Judged.CLASSES, "sigmoid": Judged.LABELS, "none": Judged.VALUES}


@dataclass(frozen=True, slots=True)
class Trial:
    """`reduce` gets a view of a text's output without padding and copies what it keeps; the rest is the model's."""

    kind: Judged
    encoded: Sequence[Encoded]
    reduce: Reduce
    positions: int
    pad_id: int
    labels: Sequence[str]
    report: Callable[[str], None]

    @classmethod
    def of(cls, model: Model, texts: Sequence[Text], report: Callable[[str], None]) -> Self:
        """Those texts for that model, clipped where they are too long. Texts of which no token is left are left out."""
        kind = judged(model)
        encoded = tuple(
            item for item in _encoded(model, texts, kind) if kind is not Judged.TOKENS or _seen(item).any()
        )
        return cls(
            kind,
            encoded,
            _reducer(model, kind),
            model.positions,
            model.shape.pad_id,
            model.label_names,
            report,
        )

    def run(self, lane: Lane) -> list[FloatArray]:
        """A row for each text, in order, every text computed alone. Says how far it is: it may take many minutes."""
        rows, said = [], perf_counter()
        for item in self.encoded:
            rows += self._infer(lane, [item])
            if perf_counter() - said > _SAID_S:
                self.report(f"{len(rows)} of {len(self.encoded)} texts computed")
                said = perf_counter()
        return rows

    def judge(self, lane: Lane, reference: Sequence[FloatArray]) -> Verdict:
        """What the gate says of that lane against the rows that `run` gave for the reference."""
        rows = self.run(lane)
        texts = [item.text.text for item in self.encoded]
        verdict = judge(self.kind, texts, reference, rows, labels=self.labels)
        if not verdict.passed:
            return verdict
        batched = self._batched(lane)
        neighbours = judge_neighbours(
            self.kind, reference, [rows[index] for index in batched], list(batched.values())
        )
        return replace(verdict, reasons=neighbours.reasons, figures={**verdict.figures, **neighbours.figures})

    def _batched(self, lane: Lane) -> dict[int, FloatArray]:
        """Rows, by the texts' indices, of one batch of each bucket: as large a batch as there are texts for it."""
        by_bucket: dict[int, list[int]] = {}
        for index, item in enumerate(self.encoded):
            by_bucket.setdefault(bucket(len(item), self.positions), []).append(index)
        found: dict[int, FloatArray] = {}
        for size, indices in by_bucket.items():
            batch = indices[: next(texts for texts in batch_sizes(size) if texts <= len(indices))]
            found |= zip(batch, self._infer(lane, [self.encoded[index] for index in batch]), strict=True)
        return found

    def _infer(self, lane: Lane, encoded: Sequence[Encoded]) -> list[FloatArray]:
        """Rows of texts of one bucket, as one batch."""
        shape = len(encoded), bucket(len(encoded[0]), self.positions)
        output = lane.infer(*padded(encoded, shape, self.pad_id))
        return [
            self.reduce(row[: len(item)] if output.ndim == 3 else row, item)
            for row, item in zip(output, encoded, strict=True)
        ]


def judged(model: Model) -> Judged:
    """What the rows of that model are."""
    if model.head is Head.HIDDEN:
        return Judged.VECTORS
    if model.head is Head.TOKEN:
        return Judged.TOKENS
    return _BY_FUNCTION[function_of(model.labels.problem_type, len(model.label_names))]


def _encoded(model: Model, texts: Sequence[Text], kind: Judged) -> Iterator[Encoded]:
    encoder = model.sentences if kind is Judged.VECTORS else model.texts
    prompt = model.pooling.prompt(None)
    for text in texts:
        prompted = Text(prompt + text.text, text.field, text.pair)
        with suppress(Invalid):  # nothing of it is left as tokens
            yield from encoder.encode(
                [prompted], Limit(encoder.max_length, clip=True), sources=kind is Judged.TOKENS
            )


def _reducer(model: Model, kind: Judged) -> Reduce:
    if kind is Judged.VECTORS:
        return lambda row, _: model.pooling.pool(row)
    if kind is Judged.TOKENS:
        return lambda row, item: row[_seen(item)]
    return lambda row, _: row.copy()


def _seen(item: Encoded) -> np.typing.NDArray[np.bool_]:
    """Which tokens have labels that a caller sees: all but the special ones."""
    assert item.source is not None  # noqa: S101 - tokens are encoded with their sources
    return np.equal(item.source.special_tokens_mask, 0)
