"""Texts made of random tokens, to see whether a graph computes what it should. Used by `opening` and by `build/export`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inlet.runtime.engines.base import FloatArray, IntArray
from inlet.runtime.origins.shape import ModelShape

SHORT = 3  # tokens of the shortest text with a word in it: padding shows most there
FILLED = 16
_TOKENS = 100_000  # to draw from, however many a configuration claims
_SMALLEST = 0.1  # answers that are all smaller are compared as if they were this large


def texts(shape: ModelShape, lengths: Sequence[int], *, size: int | None = None) -> dict[str, IntArray]:
    """Inputs by name, int64 [texts, size], filled up behind each text; without a size to the longest. Always the same."""
    random, width = np.random.default_rng(0), size or max(lengths)
    ids = np.full((len(lengths), width), shape.pad_id, dtype=np.int64)
    usable = np.array(
        [
            token
            for token in range(min(shape.vocabulary, _TOKENS))
            if token not in (shape.pad_id, shape.end_id)
        ]
    )
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = random.choice(usable, length)
        if shape.end_id is not None:
            row[length - 1] = shape.end_id
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def difference(found: FloatArray, expected: FloatArray, lengths: Sequence[int]) -> float:
    """The largest, as a share of the largest number expected; answers per token are compared where there are tokens.

    Infinite when the shapes do not fit or something is not a number.
    """
    largest = 0.0
    for ours, theirs, length in zip(found, expected, lengths, strict=True):
        if found.ndim == 3:
            ours, theirs = ours[:length], theirs[:length]  # noqa: PLW2901 - the same rows without their padding
        if ours.shape != theirs.shape or not np.isfinite(ours).all():
            return float("inf")
        scale = max(_SMALLEST, float(np.abs(theirs).max()))
        largest = max(largest, float(np.abs(ours - theirs).max()) / scale)
    return largest
