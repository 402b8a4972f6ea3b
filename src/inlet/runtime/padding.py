"""Texts to one batch: rows filled up to a bucket. Used by whoever runs a lane: the batcher, and the gate's trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inlet.runtime.engines.base import IntArray
from inlet.runtime.texts import Encoded


def padded(
    encoded: Sequence[Encoded], shape: tuple[int, int], pad_id: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Ids, token types and mask, each of `shape` [texts, tokens], which must hold them; rows left over are padding."""
    ids = np.full(shape, pad_id, dtype=np.int64)
    token_types, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, item in enumerate(encoded):
        ids[row, : len(item)], token_types[row, : len(item)] = item.ids, item.token_types
        mask[row, : len(item)] = 1
    return ids, token_types, mask
