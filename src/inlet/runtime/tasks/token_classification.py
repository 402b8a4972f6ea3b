"""token-classification: an entity for each token, or for groups of tokens under an aggregation strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from inlet.core.errors import Invalid
from inlet.runtime.dialect import Dialect, Request
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.model import Model
from inlet.runtime.scores import softmax
from inlet.runtime.tasks.base import Work, read_texts
from inlet.runtime.tasks.parameters import Parameters
from inlet.runtime.texts import Encoded, Limit, Text, Texts

_STRATEGIES = ("none", "simple", "first", "average", "max")
Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Token:
    word: str
    scores: FloatArray
    start: int
    end: int
    index: int
    continues: bool  # belongs to the same word as the token before it


class TokenClassification:
    """Flat list of entities for one text, list of lists for several. `api` groups by default (`simple`)."""

    name = "token-classification"
    parameters = frozenset({"aggregation_strategy", "ignore_labels", "stride", "truncation"})
    inputs_at_root = ()

    def __init__(self, model: Model) -> None:
        self._model = model
        self._labels = model.label_names

    def plan(self, request: Request) -> Work:
        texts, single = read_texts(request.inputs)
        p = Parameters(request.parameters, self.parameters)
        default = "simple" if request.dialect is Dialect.API else "none"
        strategy = p.choice("aggregation_strategy", _STRATEGIES, default)
        ignored = frozenset(p.strings("ignore_labels", ["O"]))
        stride = p.integer("stride", None)
        encode = partial(self._model.texts.encode, texts, self._limit(p), sources=True)
        if stride is not None:
            self._check_stride(stride, strategy)
            encode = partial(self._model.texts.windows, texts, stride)

        def reduce(row: FloatArray, encoded: Encoded) -> tuple[Text, list[Entity]]:
            tokens = _tokens(softmax(row), encoded, self._model.texts)
            entities = self._entities(tokens, strategy)
            return encoded.text, [
                e for e in entities if e.get("entity", e.get("entity_group")) not in ignored
            ]

        def answer(rows: list[tuple[Text, list[Entity]]]) -> Any:
            found: dict[str, list[list[Entity]]] = {text.field: [] for text in texts}
            for text, entities in rows:
                found[text.field].append(entities)
            merged = [_without_overlaps(windows) for windows in found.values()]
            return merged[0] if single else merged

        return Work(texts, encode, reduce, answer)

    def _limit(self, p: Parameters) -> Limit:
        clip = p.truncation() or False
        return Limit(self._model.texts.max_length if clip else self._model.positions, clip=clip)

    def _check_stride(self, stride: int, strategy: str) -> None:
        room = self._model.texts.room
        if stride >= room:
            raise Invalid(f"must be less than {room}, the tokens in a window", field="parameters.stride")
        if strategy == "none":
            raise Invalid(
                'windows overlap, so entities must be grouped: send an aggregation_strategy other than "none"',
                field="parameters.stride",
            )

    def _entities(self, tokens: Sequence[_Token], strategy: str) -> list[Entity]:
        if strategy in ("none", "simple"):
            labelled = [self._entity(token) for token in tokens]
            if strategy == "none":
                return labelled
        else:
            labelled = [self._word(word, strategy) for word in _words(tokens)]
        return self._groups(labelled)

    def _entity(self, token: _Token) -> Entity:
        best = int(token.scores.argmax())
        return {
            "entity": self._labels[best],
            "score": token.scores[best],
            "index": token.index,
            "word": token.word,
            "start": token.start,
            "end": token.end,
        }

    def _word(self, tokens: Sequence[_Token], strategy: str) -> Entity:
        """One label for a whole word, so that its pieces cannot disagree."""
        if strategy == "first":
            scores = tokens[0].scores
        elif strategy == "max":
            scores = max(tokens, key=lambda token: token.scores.max()).scores
        else:
            scores = np.mean([token.scores for token in tokens], axis=0)
        best = int(scores.argmax())
        return {
            "entity": self._labels[best],
            "score": scores[best],
            "word": self._model.texts.join([token.word for token in tokens]),
            "start": tokens[0].start,
            "end": tokens[-1].end,
        }

    def _groups(self, entities: Sequence[Entity]) -> list[Entity]:
        """Neighbours with the same tag are one entity, unless the later one begins anew (`B-`)."""
        groups: list[list[Entity]] = []
        for entity in entities:
            begins, tag = _tag(entity["entity"])
            if groups and not begins and tag == _tag(groups[-1][-1]["entity"])[1]:
                groups[-1].append(entity)
            else:
                groups.append([entity])
        return [
            {
                "entity_group": group[0]["entity"].split("-", 1)[-1],
                "score": np.mean([entity["score"] for entity in group]),
                "word": self._model.texts.join([entity["word"] for entity in group]),
                "start": group[0]["start"],
                "end": group[-1]["end"],
            }
            for group in groups
        ]


def _tokens(scores: FloatArray, encoded: Encoded, texts: Texts) -> list[_Token]:
    source, sentence = encoded.source, encoded.text.text
    assert source is not None  # noqa: S101 - this task asks for it
    tokens = []
    rows = zip(source.tokens, source.offsets, source.special_tokens_mask, scores, strict=True)
    for index, (word, (start, end), special, row) in enumerate(rows):
        if special:
            continue
        seen = sentence[start:end]
        if texts.subword_prefix:
            continues = len(word) != len(seen)
        else:
            continues = start > 0 and " " not in sentence[start - 1 : start + 1]
        if word == texts.unknown_token:
            word, continues = seen, False  # noqa: PLW2901 - the text says more than "unknown"
        tokens.append(_Token(word, row, start, end, index, continues))
    return tokens


def _words(tokens: Sequence[_Token]) -> list[list[_Token]]:
    words: list[list[_Token]] = []
    for token in tokens:
        if words and token.continues:
            words[-1].append(token)
        else:
            words.append([token])
    return words


def _tag(label: str) -> tuple[bool, str]:
    """Whether the label begins an entity, and its tag; a label without B- or I- continues."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _without_overlaps(windows: Sequence[list[Entity]]) -> list[Entity]:
    """Entities of one text; where windows overlap, the longer one wins, then the surer one."""
    if len(windows) == 1:
        return windows[0]
    kept: list[Entity] = []
    for entity in sorted((e for window in windows for e in window), key=lambda e: e["start"]):
        if not kept or entity["start"] >= kept[-1]["end"]:
            kept.append(entity)
        elif _weight(entity) > _weight(kept[-1]):
            kept[-1] = entity
    return kept


def _weight(entity: Entity) -> tuple[int, float]:
    return entity["end"] - entity["start"], float(entity["score"])
