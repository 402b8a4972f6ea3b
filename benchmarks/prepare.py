"""Makes the model, the texts and the reference answers, once per machine below `.cache/benchmarks`. Called by `rounds`."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import head
from benchmarks import model as model_of
from benchmarks.model import LONGEST
from benchmarks.session import Session
from benchmarks.texts import Texts
from benchmarks.workload import LENGTHS, MIXED, Answer, Workload

ROOT = Path(__file__).resolve().parents[1]
_PER_LENGTH = {16: 100, 32: 100, 75: 100, 128: 100, 256: 40, 512: 20}
_MIXED_TEXTS = 200
_SEED = 20
_FIT_TEXTS, _FIT_SEED = 150, 21  # none of those that are asked


def workload(threads: int, say: Callable[[str], None]) -> Workload:
    """Make or read it; the first time takes a minute."""
    sources = [Path(__file__).with_name(name) for name in ("model.py", "head.py", "texts.py", "prepare.py")]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = ROOT / ".cache" / "benchmarks" / version
    folder.mkdir(parents=True, exist_ok=True)
    model, answers = folder / "model", folder / "reference.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not model.exists():
            say("making the model (random weights, 500 MB)")
            _make(model, threads)
        texts, tokens, of = _texts(model)
        if not answers.exists():
            say(f"computing the reference answers to {len(texts)} texts")
            _write_reference(answers, model, texts, threads)
    expected = tuple(Answer(**answer) for answer in json.loads(answers.read_bytes()))
    return Workload(model, tuple(texts), tuple(tokens), expected, of)


def _make(model: Path, threads: int) -> None:
    draft = model.with_name("draft")
    model_of.make(draft)
    texts = Texts(draft, _FIT_SEED)
    tokens = texts.mixed_lengths(_FIT_TEXTS)
    model_of.make(model, head.fit(draft, texts.of_lengths(tokens), tokens, threads))
    shutil.rmtree(draft)


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
