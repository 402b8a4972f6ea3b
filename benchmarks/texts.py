"""Texts of exact lengths in tokens: seeded, all different. Used by `workload`; made of `model`'s words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from benchmarks.model import LONGEST, SPECIALS, words

# The mixed lengths of the throughput figures: log-normal, clipped to what the model takes.
_MEDIAN, _P95 = 30, 150
_Z95 = 1.645
_SHORTEST = SPECIALS + 4  # so short that there are still enough different texts


class Texts:
    """Draws texts for the tokenizer of one model folder; the same calls give the same texts."""

    def __init__(self, model: Path, seed: int) -> None:
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._rng = np.random.default_rng(seed)
        self._seen: set[str] = set()
        # A word's tokens do not depend on its neighbours: the tokenizer splits at spaces first.
        self._words = [f" {word}" for word in words()]
        encodings = tokenizer.encode_batch(self._words, add_special_tokens=False)
        self._sizes = np.array([len(encoding) for encoding in encodings])
        frequency = 1 / (np.arange(len(self._words)) + 10)
        # By the most tokens that a word may have: how often it or one before it is drawn, to search in.
        self._upto = {
            most: np.cumsum(np.where(self._sizes <= most, frequency, 0))
            for most in range(1, int(self._sizes.max()) + 1)
        }

    def of_lengths(self, lengths: Iterable[int]) -> list[str]:
        """One text for each length, which counts the special tokens."""
        return [self._new(length) for length in lengths]

    def mixed_lengths(self, count: int) -> list[int]:
        """Lengths as of mixed traffic, in no order."""
        sigma = np.log(_P95 / _MEDIAN) / _Z95
        drawn = self._rng.lognormal(np.log(_MEDIAN), sigma, size=count)
        return [int(length) for length in np.clip(np.rint(drawn), _SHORTEST, LONGEST)]

    def _new(self, length: int) -> str:
        while (text := self._draw(length - SPECIALS)) in self._seen:
            pass
        self._seen.add(text)
        return text

    def _draw(self, left: int) -> str:
        parts = []
        while left > 0:
            upto = self._upto[min(left, len(self._upto))]
            chosen = int(np.searchsorted(upto, self._rng.random() * upto[-1], side="right"))
            parts.append(self._words[chosen])
            left -= int(self._sizes[chosen])
        return "".join(parts)
