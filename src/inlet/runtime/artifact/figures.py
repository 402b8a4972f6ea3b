"""How far a variant's answers are from the reference's: one function per kind of answer. Pure numpy; used by `gate`.

Decides nothing. Rows come in pairs of equal shape, finite, and the reference's tell texts apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from inlet.runtime.engines.base import FloatArray
from inlet.runtime.scores import sigmoid, softmax

Rows: TypeAlias = Sequence[FloatArray] | FloatArray  # one per text
Numbers: TypeAlias = npt.NDArray[np.float64]

CLEAR = 0.1  # a decision is clear if the probabilities behind it are further apart
NEIGHBOURS = 10
_ROUNDING = 1e-6  # numbers that differ by less of their size may be the same ones, added up in another order
_SHOWN = 60  # characters of a text that is shown as an answer


class Judged(StrEnum):
    """What a row is: K labels, L tokens, H hidden."""

    CLASSES = "classes"  # [K] logits, of which the largest decides
    LABELS = "labels"  # [K] logits that decide on their own, each at a probability of 0.5
    VALUES = "values"  # [K] numbers as they are (regression)
    TOKENS = "tokens"  # [L, K] logits, of which the largest decides for each token
    SPANS = "spans"  # [L, 2] logits, of which the largest of each column decides: where an answer begins, where it ends
    VECTORS = "vectors"  # [H] a text's vector, pooled


@dataclass(frozen=True, slots=True)
class Measured:
    """`change`: one number per text, the larger the worse. `answers`: both answers to the text of that index, in words."""

    figures: Mapping[str, float]
    change: FloatArray | Numbers
    answers: Callable[[int], tuple[str, str]]


def measure(
    kind: Judged, texts: Sequence[str], reference: Rows, variant: Rows, labels: Sequence[str]
) -> Measured:
    """Figures of that kind, and `noise`, which all kinds have. `labels`: names of the K; none for vectors."""
    if kind is Judged.VECTORS:
        found = _vectors(texts, reference, variant)
    elif kind in (Judged.CLASSES, Judged.TOKENS):
        found = _choices(reference, variant, labels)
    elif kind is Judged.SPANS:
        found = _spans(reference, variant)
    else:
        found = _numbers_alone(kind, reference, variant, labels)
    change = _root_mean_square(_numbers(kind, variant) - _numbers(kind, reference))
    return replace(found, figures={**found.figures, "noise": change / spread(kind, reference)})


def spread(kind: Judged, rows: Rows) -> float:
    """Root mean square distance of the rows' numbers from their means over all rows."""
    numbers = _numbers(kind, rows)
    return _root_mean_square(numbers - numbers.mean(axis=0))


def tells_apart(kind: Judged, rows: Rows) -> bool:
    """Whether rows differ by more than rounding does."""
    return spread(kind, rows) > _ROUNDING * _root_mean_square(_numbers(kind, rows))


def _numbers(kind: Judged, rows: Rows) -> Numbers:
    """[rows, numbers]. Where only differences between logits count, what a row's logits have in common is taken off."""
    if kind is Judged.SPANS:
        lines = [row.astype(np.float64) for row in rows]
        return np.concatenate([(line - line.mean(axis=0)).reshape(-1, 1) for line in lines])
    numbers = _stacked(rows).astype(np.float64)
    if kind in (Judged.CLASSES, Judged.TOKENS):
        numbers -= numbers.mean(axis=1, keepdims=True)
    return numbers


def _stacked(rows: Rows) -> FloatArray:
    return np.concatenate([np.atleast_2d(row) for row in rows])


def _root_mean_square(numbers: Numbers) -> float:
    return float(np.sqrt(np.mean(numbers**2)))


def _choices(reference: Rows, variant: Rows, labels: Sequence[str]) -> Measured:
    """Each text, or each of its tokens, goes to the label of the largest logit."""
    before, after = softmax(_stacked(reference)), softmax(_stacked(variant))
    decided, other = before.argmax(axis=1), after.argmax(axis=1)
    second, first = np.sort(before, axis=1)[:, -2:].T
    flipped = decided != other
    changes = np.abs(after - before).max(axis=1)
    begins = np.cumsum([0, *(len(np.atleast_2d(row)) for row in reference)])
    figures = {
        "agreement": 1 - float(flipped.mean()),
        "clear_flips": float((flipped & (first - second > CLEAR)).mean()),
        "commonest": float(np.bincount(decided).max() / len(decided)),
        **_shares(changes),
    }

    def answers(index: int) -> tuple[str, str]:
        worst = begins[index] + int(changes[begins[index] : begins[index + 1]].argmax())
        return (
            _named(labels, int(decided[worst]), before[worst, decided[worst]]),
            _named(labels, int(other[worst]), after[worst, other[worst]]),
        )

    return Measured(figures, np.maximum.reduceat(changes, begins[:-1]), answers)


def _spans(reference: Rows, variant: Rows) -> Measured:
    """Two decisions a text, each between its tokens: as many as it has."""
    decided, other, clear, changes = [], [], [], []
    for before, after in zip(reference, variant, strict=True):
        was, now = softmax(before.T), softmax(after.T)
        second, first = np.sort(was, axis=1)[:, -2:].T if was.shape[1] > 1 else (np.zeros(2), was[:, 0])
        decided.append(was.argmax(axis=1))
        other.append(now.argmax(axis=1))
        clear.append(first - second > CLEAR)
        changes.append(np.abs(now - was).max(axis=1))
    flipped, change = np.not_equal(decided, other), np.array(changes)
    figures = {
        "agreement": 1 - float(flipped.mean()),
        "clear_flips": float((flipped & np.array(clear)).mean()),
        **_shares(change),
    }

    def answers(index: int) -> tuple[str, str]:
        return _span(decided[index]), _span(other[index])

    return Measured(figures, change.max(axis=1), answers)


def _span(ends: npt.NDArray[np.int64]) -> str:
    return f"tokens {ends[0]} to {ends[1]}"


def _numbers_alone(kind: Judged, reference: Rows, variant: Rows, labels: Sequence[str]) -> Measured:
    """Each number stands for itself: a label's probability, or a value, whose change is in units of the values' spread."""
    before, after = _stacked(reference), _stacked(variant)
    figures: dict[str, float] = {}
    if kind is Judged.LABELS:
        before, after = sigmoid(before), sigmoid(after)
        flipped = (before > 0.5) != (after > 0.5)
        figures["agreement"] = 1 - float(flipped.any(axis=1).mean())
        figures["clear_flips"] = float((flipped & (np.abs(before - 0.5) > CLEAR)).any(axis=1).mean())
    changes = np.abs(after - before)
    if kind is Judged.VALUES:
        changes /= spread(kind, reference)
    change = changes.max(axis=1)

    def answers(index: int) -> tuple[str, str]:
        worst = int(changes[index].argmax())
        return _named(labels, worst, before[index, worst]), _named(labels, worst, after[index, worst])

    return Measured({**figures, **_shares(change)}, change, answers)


def _vectors(texts: Sequence[str], reference: Rows, variant: Rows) -> Measured:
    before, after = _unit(_stacked(reference)), _unit(_stacked(variant))
    cosines = (before * after).sum(axis=1)
    similar, nearest, now = _similarities(before), _nearest(before), _nearest(after)
    every = np.arange(len(texts))[:, None]
    # By similarity, not by index: of several that are equally near, either may be named.
    kept = similar[every, now] >= similar[every, nearest[:, -1:]] - _ROUNDING
    figures = {
        "top10": float(kept.mean()),
        "nearest": float((similar[every, now[:, :1]] >= similar[every, nearest[:, :1]] - _ROUNDING).mean()),
        "cosine_min": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
    }

    def answers(index: int) -> tuple[str, str]:
        return (
            f"nearest: {texts[nearest[index, 0]][:_SHOWN]!r}",
            f"nearest: {texts[now[index, 0]][:_SHOWN]!r}",
        )

    return Measured(figures, 1 - cosines, answers)


def _unit(vectors: FloatArray) -> Numbers:
    long = vectors.astype(np.float64)
    result: Numbers = long / np.maximum(np.linalg.norm(long, axis=1, keepdims=True), 1e-12)
    return result


def _similarities(units: Numbers) -> Numbers:
    """Cosines [texts, texts], each text's with itself below all others."""
    similar = units @ units.T
    np.fill_diagonal(similar, -2)
    return similar


def _nearest(units: Numbers) -> npt.NDArray[np.int64]:
    """The texts nearest to each, nearest first: [texts, NEIGHBOURS]."""
    return np.argsort(-_similarities(units), axis=1, kind="stable")[:, :NEIGHBOURS]


def _shares(changes: FloatArray | Numbers) -> dict[str, float]:
    return {"change_max": float(changes.max()), "change_p99": float(np.percentile(changes, 99))}


def _named(labels: Sequence[str], index: int, number: float) -> str:
    return f"{labels[index]} {number:.3g}"
