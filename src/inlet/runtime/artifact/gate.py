"""Whether a variant may serve: its answers against those of fp32, within the bounds below. Pure numpy; called by the build.

Fails closed: whatever cannot be judged (too few texts, numbers that are none, a reference that tells no text from
another) does not pass. Runs nothing (`trial` does) and chooses nothing: among those that pass, the build takes the
quickest. The bounds are explained in docs/reference/fidelity.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from inlet.runtime.artifact.figures import Judged, Rows, measure, spread, tells_apart

MIN_TEXTS = 50  # fewer say too little: one close call is 2 % of them, and ten neighbours are a fifth
MAX_WORST = 10
MAX_SHOWN = 200  # characters of a text in a verdict


class Bound(NamedTuple):
    """What a figure may be at least, or at most."""

    limit: float
    least: bool


def _least(limit: float) -> Bound:
    return Bound(limit, least=True)


def _most(limit: float) -> Bound:
    return Bound(limit, least=False)


_NOISE = {"noise": _most(0.12)}
_DECISIONS = {"agreement": _least(0.9), "change_p99": _most(0.12)}
BOUNDS: Mapping[Judged, Mapping[str, Bound]] = {
    Judged.CLASSES: {**_NOISE, **_DECISIONS, "clear_flips": _most(0)},
    Judged.LABELS: {**_NOISE, **_DECISIONS, "clear_flips": _most(0)},
    Judged.TOKENS: {**_NOISE, **_DECISIONS, "clear_flips": _most(0.002)},
    Judged.SPANS: {**_NOISE, **_DECISIONS, "clear_flips": _most(0.002)},
    Judged.VALUES: {**_NOISE, "change_max": _most(0.5)},
    Judged.VECTORS: {**_NOISE, "top10": _least(0.95), "cosine_min": _least(0.98)},
}
MOVED = _most(1e-5)


@dataclass(frozen=True, slots=True)
class Difference:
    """A text (shortened) with both answers in words, and how far they are apart."""

    text: str
    reference: str
    variant: str
    change: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reasons` say why it did not pass; `figures` are what was measured, by name; `worst` differ most, worst first."""

    reasons: tuple[str, ...]
    figures: Mapping[str, float]
    worst: tuple[Difference, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.reasons


def judge(
    kind: Judged, texts: Sequence[str], reference: Rows, variant: Rows, *, labels: Sequence[str] = ()
) -> Verdict:
    """Compare the variant's rows with the reference's; `ValueError` if there are not as many rows as texts.

    `labels`: names of the K labels, in order; needed by all kinds but `VECTORS` and `SPANS`.
    """
    if not len(texts) == len(reference) == len(variant):
        raise ValueError(f"{len(texts)} texts, {len(reference)} and {len(variant)} rows")
    figures = {"texts": float(len(texts))}
    unfit = _unfit(kind, reference, variant)
    if unfit is not None:
        return Verdict((unfit,), figures)
    measured = measure(kind, texts, reference, variant, labels)
    order = np.argsort(-measured.change, kind="stable")[:MAX_WORST].tolist()
    worst = tuple(
        Difference(texts[index][:MAX_SHOWN], *measured.answers(index), float(measured.change[index]))
        for index in order
    )
    return Verdict(_broken(BOUNDS[kind], measured.figures), {**figures, **measured.figures}, worst)


def judge_neighbours(kind: Judged, reference: Rows, alone: Rows, among: Rows) -> Verdict:
    """The variant's rows of the same texts, computed alone and in batches: `moved` says how far they are apart.

    For variants that `judge` passed on the same reference.
    """
    largest = max(float(np.abs(one - other).max()) for one, other in zip(alone, among, strict=True))
    figures = {"moved": largest / spread(kind, reference)}
    return Verdict(_broken({"moved": MOVED}, figures), figures)


def _unfit(kind: Judged, reference: Rows, variant: Rows) -> str | None:
    """Why there is nothing to measure, if so."""
    if len(reference) < MIN_TEXTS:
        return f"{len(reference)} texts are too few to judge by: at least {MIN_TEXTS}"
    for name, rows in (("reference", reference), ("variant", variant)):
        wrong = sum(not np.isfinite(row).all() for row in rows)
        if wrong:
            return f"the {name} answers {wrong} of {len(rows)} texts with numbers that are not finite"
    if any(one.shape != other.shape for one, other in zip(reference, variant, strict=True)):
        return "the variant's answers have another shape than the reference's"
    if not tells_apart(kind, reference):
        return "the reference gives every text the same answer"
    return None


def _broken(bounds: Mapping[str, Bound], figures: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(
        f"{name} is {figures[name]:.4g}, which must be at {'least' if bound.least else 'most'} {bound.limit:g}"
        for name, bound in bounds.items()
        if not (figures[name] >= bound.limit if bound.least else figures[name] <= bound.limit)
    )
