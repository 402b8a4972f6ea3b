"""The head that makes a classifier of the model's random encoder, fitted so that its decisions have margins. Used by `prepare`.

A head in a random direction reads mostly what all texts have in common: what a precision rounds away is then as large as what
texts differ by, and no precision but the finest could hold. So it reads the direction in which the features of texts differ most once
their length is accounted for. That is as far from a trained classifier as the encoder is; but like one's, most of its decisions are
clear, and the fidelity gate has something to judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.model import HIDDEN
from benchmarks.session import Encoder
from inlet.runtime.build.encoder import Head
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import FloatArray

_SPREAD = 3.0  # standard deviation over the texts of the difference of both logits


def fit(
    model: Path, texts: Sequence[str], tokens: Sequence[int], threads: int
) -> tuple[FloatArray, FloatArray]:
    """Weights [2, hidden] and biases [2] of the last layer, for the model in that folder; `tokens` are the texts' lengths."""
    encoder, weights = Encoder(model, Head.HIDDEN, "fp32", threads), Weights.open(model)
    dense, bias = (
        weights.take(f"classifier.dense.{part}", size)
        for part, size in (("weight", (HIDDEN, HIDDEN)), ("bias", (HIDDEN,)))
    )
    # Of the first token, as the head takes it.
    hidden = np.stack([encoder.infer(text)[0].copy() for text in texts])
    features = np.tanh(hidden @ dense.T + bias)
    size = np.log(np.asarray(tokens, np.float32))
    explained = np.stack([np.ones_like(size), size, size**2], axis=1)
    rest = features - explained @ np.linalg.lstsq(explained, features, rcond=None)[0]
    direction = np.linalg.svd(rest, full_matrices=False)[2][0]
    along = features @ direction
    scale = _SPREAD / along.std() / 2
    offset = scale * np.median(along)
    return np.stack([-scale * direction, scale * direction]), np.array([offset, -offset], np.float32)
