"""What is asked, and what the right answers are: the model, the texts, the reference, and the verdict on answers.

Made once per machine below `.cache/benchmarks` and read from there afterwards. Used by `rounds` and `scenarios/`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import model as model_of
from benchmarks.load import Samples
from benchmarks.model import LABELS, LONGEST
from benchmarks.session import Session
from benchmarks.texts import Texts

ROOT = Path(__file__).resolve().parents[1]
LENGTHS = (16, 32, 75, 128, 256, 512)
MIXED = "mixed"
_PER_LENGTH = {16: 100, 32: 100, 75: 100, 128: 100, 256: 40, 512: 20}
_MIXED_TEXTS = 200
_SEED = 20
# How far the score of the reference's label may be off, by precision. Wider than any rounding of that precision seen on
# this model, and narrow enough that most texts cannot take each other's place.
TOLERANCE = {"fp32": 0.002, "bf16": 0.03, "int8": 0.08}


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


def workload(threads: int, say: Callable[[str], None]) -> Workload:
    """Make or read it; the first time takes a minute."""
    sources = [Path(__file__).with_name(name) for name in ("model.py", "texts.py", "workload.py")]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = ROOT / ".cache" / "benchmarks" / version
    folder.mkdir(parents=True, exist_ok=True)
    model, answers = folder / "model", folder / "reference.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not model.exists():
            say("making the model (random weights, 500 MB)")
            model_of.make(model)
        texts, tokens, of = _texts(model)
        if not answers.exists():
            say(f"computing the reference answers to {len(texts)} texts")
            _write_reference(answers, model, texts, threads)
    expected = tuple(Answer(**answer) for answer in json.loads(answers.read_bytes()))
    return Workload(model, tuple(texts), tuple(tokens), expected, of)


def _texts(model: Path) -> tuple[list[str], list[int], dict[str, tuple[int, ...]]]:
    texts = Texts(model, _SEED)
    lengths = {str(length): [length] * _PER_LENGTH[length] for length in LENGTHS}
    lengths[MIXED] = texts.mixed_lengths(_MIXED_TEXTS)
    of: dict[str, tuple[int, ...]] = {}
    tokens: list[int] = []
    for name, wanted in lengths.items():
        of[name] = tuple(range(len(tokens), len(tokens) + len(wanted)))
        tokens += wanted
    assert max(tokens) <= LONGEST
    return texts.of_lengths(tokens), tokens, of


def _write_reference(path: Path, model: Path, texts: Sequence[str], threads: int) -> None:
    session = Session(model, "fp32", threads)
    found: list[dict[str, Any]] = [
        asdict(Answer(str(answer["label"]), float(answer["score"])))
        for answer in (session.classify(text) for text in texts)
    ]
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(found))
    unfinished.rename(path)
