"""What is asked, what the right answers are, and the verdict on answers. Made by `prepare`; used by `scenarios/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.load import Samples
from benchmarks.model import LABELS

LENGTHS = (16, 32, 75, 128, 256, 512)
MIXED = "mixed"
# How far the score of the reference's label may be off, by precision. Wider than any rounding of that precision seen on
# this model, and narrow enough that most texts cannot take each other's place.
TOLERANCE = {"fp32": 0.002, "bf16": 0.06, "int8": 0.12}


@dataclass(frozen=True, slots=True)
class Answer:
    """The best of the two labels, and its score."""

    label: str
    score: float

    @property
    def share(self) -> float:
        """The score of the first label, whichever was the best."""
        return self.score if self.label == LABELS[0] else 1 - self.score


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of answers. `wrong`: further from the reference than the precision explains; `swapped`: of these, those
    that are exactly the reference of another text. `worst`: the largest error of a score. `agree`: share of equal labels.
    """

    answered: int
    refused: int
    failed: int
    unreadable: int
    wrong: int
    swapped: int
    agree: float
    worst: float

    @property
    def good(self) -> bool:
        return not (self.failed or self.unreadable or self.wrong)


@dataclass(frozen=True)
class Workload:
    """`texts`, `tokens` and `expected` go together; `of` has the numbers of the texts of one length, or of the mixture."""

    model: Path
    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    expected: tuple[Answer, ...]
    of: dict[str, tuple[int, ...]]

    def check(self, samples: Samples, read: Callable[[bytes], Answer], precision: str) -> Verdict:
        """Compare every answer with the reference; `read` makes an answer of a body, or raises."""
        shares = np.array([answer.share for answer in self.expected])
        refused = failed = unreadable = wrong = swapped = agree = answered = 0
        worst = 0.0
        for number, status, body in zip(samples.text, samples.status, samples.body, strict=True):
            if status != 200:
                refused += status in (429, 503)
                failed += status not in (429, 503)
                continue
            answered += 1
            try:
                answer = read(body)
            except (ValueError, LookupError, TypeError):
                unreadable += 1
                continue
            agree += answer.label == self.expected[number].label
            error = abs(answer.share - shares[number])
            worst = max(worst, float(error))
            if error > TOLERANCE[precision]:
                wrong += 1
                swapped += bool((np.abs(shares - answer.share) < TOLERANCE["fp32"]).any())
        readable = answered - unreadable
        return Verdict(
            answered,
            refused,
            failed,
            unreadable,
            wrong,
            swapped,
            agree / readable if readable else 0.0,
            worst,
        )

    def distinguishable(self, precision: str) -> float:
        """The share of pairs of texts of which one's answer would not pass for the other's."""
        shares = np.array([answer.share for answer in self.expected])
        apart = np.abs(shares[:, None] - shares[None, :]) > TOLERANCE[precision]
        return float(apart.sum() / (len(shares) * (len(shares) - 1)))
