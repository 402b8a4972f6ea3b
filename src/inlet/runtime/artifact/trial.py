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
from inlet.runtime.artifact.gate import MIN_TEXTS, Verdict, judge, judge_neighbours
from inlet.runtime.buckets import batch_sizes, bucket
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.base import FloatArray, Lane
from inlet.runtime.model import Model
from inlet.runtime.padding import padded
from inlet.runtime.scores import function_of
from inlet.runtime.texts import Encoded, Limit, Text

Reduce = Callable[[FloatArray, Encoded], FloatArray]
_SAID_S = 10.0  # between two words on how far it is
# Of masks' words in one set of rows: 64 MB, of which a judgement takes some ten times.
_MAX_SCORES = 16_000_000
# Of any text: what is asked need not be in it, since it is answers that are compared.
_QUESTIONS = (
    "What is this about?",
    "Who is it?",
    "When does it happen?",
    "Where is it?",
    "Why?",
    "How much is it?",
    "What should be done?",
)
_BY_TOKEN = (Head.TOKEN, Head.ANSWER, Head.MASKED)
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
        labels = model.label_names if model.decoder is None else model.texts.names(model.decoder.words)
        return cls(
            judged(model),
            tuple(_encoded(model, texts)),
            _reducer(model),
            model.positions,
            model.shape.pad_id,
            labels,
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
    if model.head is Head.ANSWER:
        return Judged.SPANS
    if model.head is Head.MASKED:
        return Judged.CLASSES  # every word of the vocabulary is one
    return _BY_FUNCTION[function_of(model.labels.problem_type, len(model.label_names))]


def _encoded(model: Model, texts: Sequence[Text]) -> Iterator[Encoded]:
    """As the tasks encode them; what no answer depends on is left out."""
    encoder = model.sentences if model.head is Head.HIDDEN else model.texts
    limit, by_token = Limit(encoder.max_length, clip=True), model.head in _BY_TOKEN
    for text in _prepared(model, texts):
        with suppress(Invalid):  # nothing of it is left as tokens
            (item,) = encoder.encode([text], limit, sources=by_token)
            own = np.flatnonzero(_seen(model, item)) if by_token else ()
            if model.head is Head.MASKED and len(own):
                item = _masked(model, item, int(own[len(own) // 2]))
            if len(own) or not by_token:
                yield item


def _prepared(model: Model, texts: Sequence[Text]) -> Iterator[Text]:
    """For a model that reads pairs, each text with a question, or with another text, near to it and far from it in turns."""
    if model.decoder is not None:
        most = min(len(texts), max(MIN_TEXTS, _MAX_SCORES // model.decoder.words))
        texts = [texts[place] for place in np.linspace(0, len(texts) - 1, most, dtype=int).tolist()]
    for index, text in enumerate(texts):
        if text.pair is not None or not model.reads_pairs:
            yield replace(text, text=model.pooling.prompt(None) + text.text)
        elif model.head is Head.ANSWER:
            yield Text(_QUESTIONS[index % len(_QUESTIONS)], text.field, text.text)
        else:
            away = 1 if index % 2 else len(texts) // 2
            yield replace(text, pair=texts[(index + away) % len(texts)].text)


def _masked(model: Model, item: Encoded, place: int) -> Encoded:
    """The text with a mask there, and no other one."""
    assert model.texts.mask is not None  # noqa: S101 - its task refuses a model without
    ids, mask = item.ids.copy(), model.texts.mask.id
    ids[ids == mask] = item.ids[place]
    ids[place] = mask
    return replace(item, ids=ids)


def _reducer(model: Model) -> Reduce:
    decoder, mask = model.decoder, model.texts.mask
    if model.head is Head.HIDDEN:
        return lambda row, _: model.pooling.pool(row)
    if model.head in (Head.TOKEN, Head.ANSWER):
        return lambda row, item: row[_seen(model, item)]
    if decoder is not None and mask is not None:
        return lambda row, item: decoder.logits(row[item.ids == mask.id])[0]
    return lambda row, _: row.copy()


def _seen(model: Model, item: Encoded) -> np.typing.NDArray[np.bool_]:
    """Which tokens an answer may be about: all but the special ones; of a question with its context, the context's."""
    assert item.source is not None  # noqa: S101 - these heads are encoded with their sources
    if model.head is Head.ANSWER:
        return np.array([owner == 1 for owner in item.source.owners])
    return np.equal(item.source.special_tokens_mask, 0)
