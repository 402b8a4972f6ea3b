"""Runs each text of a batch by itself, without its padding. Used by engines whose answers would depend on either.

A model may mix neighbouring tokens without looking at the mask, and a scale that is found for a whole tensor depends on
every text in it. Alone and unpadded, a text's answer is what it is, for the price of batching.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from inlet.runtime.engines.base import FloatArray, IntArray

Run = Callable[[Mapping[str, IntArray]], FloatArray]


def each_alone(run: Run, ids: IntArray, token_types: IntArray, mask: IntArray) -> FloatArray:
    """[B, K], or [B, L, H] with zeros where there is padding; `run` answers one row for inputs of [1, tokens]."""
    rows = []
    values = {"input_ids": ids, "token_type_ids": token_types, "attention_mask": mask}
    for row, length in enumerate(mask.sum(axis=1)):
        rows.append(run({name: array[row : row + 1, :length] for name, array in values.items()}))
    if rows[0].ndim == 2:
        return np.concatenate(rows)
    output = np.zeros((*ids.shape, rows[0].shape[2]), dtype=np.float32)
    for place, answer in zip(output, rows, strict=True):
        place[: answer.shape[1]] = answer[0]
    return output
