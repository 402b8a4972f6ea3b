"""fill-mask: the words that fit best where a text has the model's mask token.

`[{score, token, token_str, sequence}]` for a text with one mask, a list of such lists for one with several, in which
`sequence` then shows the other masks. A list of texts gets a list of either. Both dialects are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inlet.core.errors import Invalid, Refused, TooLarge
from inlet.runtime.build.decoder import Decoder
from inlet.runtime.dialect import Request
from inlet.runtime.engines.base import FloatArray, IntArray
from inlet.runtime.model import Model
from inlet.runtime.scores import softmax
from inlet.runtime.tasks.base import Work, read_texts
from inlet.runtime.tasks.parameters import Parameters
from inlet.runtime.texts import Encoded, Limit, Mask

MAX_TARGETS = 1_000
MAX_SEQUENCES = 1_000_000  # tokens of all sequences in one answer
_AT_ONCE = 8  # masks: their scores of a large vocabulary take a megabyte each


@dataclass(frozen=True, slots=True)
class _Filled:
    """The best words of one text, best first: [masks, words]."""

    ids: IntArray
    places: IntArray
    words: IntArray
    scores: FloatArray

    @property
    def size(self) -> int:
        """As of an array: numbers that its answer is made of."""
        return self.words.size * len(self.ids)


class FillMask:
    """Texts without the model's mask token are refused, and so are those that are too long."""

    name = "fill-mask"
    parameters = frozenset({"top_k", "targets"})
    inputs_at_root = ()

    def __init__(self, model: Model) -> None:
        if model.texts.mask is None:
            raise Refused(
                "tokenizer_config.json names no mask_token of the vocabulary, so there is nothing to fill"
            )
        assert model.decoder is not None  # noqa: S101 - every model with this head has one
        self._texts, self._positions = model.texts, model.positions
        self._mask: Mask = model.texts.mask
        self._decoder: Decoder = model.decoder

    def plan(self, request: Request) -> Work:
        texts, single = read_texts(request.inputs)
        p = Parameters(request.parameters, self.parameters)
        targets = self._targets(p)
        top_k = p.integer("top_k", 5, minimum=1, maximum=self._decoder.words)
        most = top_k if targets is None else min(top_k, len(targets))

        def encode() -> list[Encoded]:
            found = self._texts.encode(texts, Limit(self._positions, clip=False))
            self._check(found, most)
            return found

        def reduce(row: FloatArray, encoded: Encoded) -> _Filled:
            places = self._places(encoded)
            parts = [
                self._best(row[places[start : start + _AT_ONCE]], targets, most)
                for start in range(0, len(places), _AT_ONCE)
            ]
            words, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
            return _Filled(encoded.ids, places, words, scores)

        def answer(rows: list[_Filled]) -> Any:
            found = [self._answer(row) for row in rows]
            return found[0] if single else found

        return Work(texts, encode, reduce, answer)

    def _places(self, encoded: Encoded) -> IntArray:
        return np.flatnonzero(encoded.ids == self._mask.id)

    def _check(self, encoded: Sequence[Encoded], words: int) -> None:
        """Every text has a mask, and not too many words are asked for."""
        total = 0
        for item in encoded:
            masks = len(self._places(item))
            if not masks:
                raise Invalid(
                    f"has no {self._mask.token}; write it where a word is to be found", field=item.text.field
                )
            total += masks * words * len(item)
            if total > MAX_SEQUENCES:
                raise TooLarge(
                    f"the sequences up to here would have more than {MAX_SEQUENCES} tokens; ask for fewer words "
                    "(parameters.top_k), or send fewer masks in one request",
                    field=item.text.field,
                )

    def _targets(self, p: Parameters) -> IntArray | None:
        """The ids of the words to choose from, None for all: of what is no word of the vocabulary, its first token."""
        field = "parameters.targets"
        targets = p.string_or_strings("targets")
        if targets is None:
            return None
        if len(targets) > MAX_TARGETS:
            raise TooLarge(f"{len(targets)} words, more than {MAX_TARGETS}", field=field)
        read_texts(targets, field=field)
        found = {number for target in targets if (number := self._texts.word(target)) is not None}
        if not found:
            raise Invalid("none of them is a word of the model's vocabulary", field=field)
        return np.array(sorted(found))

    def _best(self, rows: FloatArray, targets: IntArray | None, most: int) -> tuple[IntArray, FloatArray]:
        """Words and their scores [masks, most]."""
        scores = softmax(self._decoder.logits(rows))
        if targets is not None:
            scores = scores[:, targets]
        first = np.argpartition(-scores, most - 1, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(scores, first, axis=1), axis=1, kind="stable")
        chosen = np.take_along_axis(first, order, axis=1)
        words = chosen if targets is None else targets[chosen]
        return words, np.take_along_axis(scores, chosen, axis=1)

    def _answer(self, row: _Filled) -> Any:
        several = len(row.places) > 1
        found = [
            [
                {
                    "score": score,
                    "token": word,
                    "token_str": self._texts.decode(np.array([word]), specials=True),
                    "sequence": self._texts.decode(_with(row.ids, place, word), specials=several),
                }
                for word, score in zip(words.tolist(), scores, strict=True)
            ]
            for place, words, scores in zip(row.places, row.words, row.scores, strict=True)
        ]
        return found if several else found[0]


def _with(ids: IntArray, place: int, word: int) -> IntArray:
    changed = ids.copy()
    changed[place] = word
    return changed
