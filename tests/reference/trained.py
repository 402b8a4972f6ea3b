"""Classifiers of a real size with real weights: heads trained in seconds, without torch, on the installed sentence model.

`classifier()` tells from which package a docstring comes; `tagger()` which words of it are names in code or begin with a
capital (the model sees lower case only). Both are hard on purpose: many of their decisions are close calls, which is
where a less exact variant gives itself away. Repeated runs read the cache.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import importlib.util
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.base import Variant
from inlet.runtime.model import open_model
from inlet.runtime.texts import Encoded, Limit, Text
from tests.reference import ROOT, minilm
from tests.reference.checkpoint import load, save

PACKAGES = ("httpx", "huggingface_hub", "hypothesis", "numpy", "pydantic", "rich", "sqlalchemy")
TAGS = ("O", "CAPITAL", "CODE")
PER_PACKAGE = 100
TESTED = 250  # docstrings that no head is trained on
CHARACTERS = 200  # of each docstring


@cache
def docstrings() -> list[tuple[str, str]]:
    """Docstrings and their packages, in an order of chance that is always the same. None names its package."""
    found = []
    for package in PACKAGES:
        found += [(text, package) for text in islice(_docstrings_of(package), PER_PACKAGE)]
    random.Random(7).shuffle(found)
    return found


def tested() -> tuple[list[str], Any]:
    """Docstrings for a test, and the index of each one's package."""
    chosen = docstrings()[:TESTED]
    return [text for text, _ in chosen], np.array([PACKAGES.index(package) for _, package in chosen])


def classifier() -> Path:
    """A `BertForSequenceClassification` of 6 layers."""
    return _made() / "classifier"


def tagger() -> Path:
    """A `BertForTokenClassification` of 6 layers."""
    return _made() / "tagger"


@cache
def _made() -> Path:
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    folder = ROOT / ".cache" / "trained" / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not folder.exists():
            draft = folder.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            _make(draft)
            draft.rename(folder)
    return folder


def _make(folder: Path) -> None:
    model = open_model(minilm(), task="feature-extraction", head=Head.HIDDEN)
    lane = model.graph().compile(Variant("openvino", "fp32"), threads=2).lanes()[0]
    trained = docstrings()[TESTED:]
    encoded = model.texts.encode(
        [Text(text, "x") for text, _ in trained], Limit(model.texts.max_length, clip=True), sources=True
    )
    hidden = [
        lane.infer(item.ids[None], item.token_types[None], np.ones_like(item.ids)[None])[0].copy()
        for item in encoded
    ]
    first = np.array([row[0] for row in hidden])
    packages = np.array([PACKAGES.index(package) for _, package in trained])
    centre, width = first.mean(axis=0), 2 * first.std()
    weight, bias = _regression(np.tanh((first - centre) / width), packages, len(PACKAGES))
    pooler = {"pooler.dense.weight": np.eye(len(centre)) / width, "pooler.dense.bias": -centre / width}
    _write(folder / "classifier", "BertForSequenceClassification", PACKAGES, weight, bias, pooler)

    tags = np.concatenate([_tags(item) for item in encoded])
    weight, bias = _regression(np.concatenate(hidden), tags, len(TAGS))
    _write(folder / "tagger", "BertForTokenClassification", TAGS, weight, bias, {})


def _regression(features: Any, labels: Any, count: int) -> tuple[Any, Any]:
    """Multinomial logistic regression by Adam over everything at once: weight [count, features] and bias."""
    x = np.hstack([features, np.ones((len(features), 1))]).astype(np.float32)
    wanted = np.eye(count, dtype=np.float32)[labels]
    parameters = np.zeros((x.shape[1], count), np.float32)
    mean, square = np.zeros_like(parameters), np.zeros_like(parameters)
    for step in range(1, 201):
        logits = x @ parameters
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        gradient = x.T @ (scores / scores.sum(axis=1, keepdims=True) - wanted) / len(x) + 1e-3 * parameters
        mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
        parameters -= 0.02 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
    return parameters[:-1].T, parameters[-1]


def _tags(item: Encoded) -> Any:
    assert item.source is not None
    return np.array([_tag(item.text.text, start, end) for start, end in item.source.offsets])


def _tag(text: str, start: int, end: int) -> int:
    """By the word around these characters, as it is written."""
    if start == end:
        return 0  # a special token
    while start and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    word = text[start:end].strip(".,:;!?")
    if any(sign in word for sign in "_`.()=[]"):
        return TAGS.index("CODE")
    return TAGS.index("CAPITAL") if word[:1].isupper() else 0


def _write(
    folder: Path, architecture: str, labels: Sequence[str], weight: Any, bias: Any, more: dict[str, Any]
) -> None:
    """The sentence model's folder with that head on it."""
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(minilm() / name, folder / name)
    config = json.loads((minilm() / "config.json").read_bytes())
    config |= {"architectures": [architecture], "id2label": dict(enumerate(labels))}
    (folder / "config.json").write_text(json.dumps(config))
    encoder = {name: tensor for name, tensor in load(minilm()).items() if not name.startswith("pooler.")}
    tensors = {f"bert.{name}": tensor for name, tensor in {**encoder, **more}.items()}
    save(folder, {**tensors, "classifier.weight": weight, "classifier.bias": bias})


def _docstrings_of(package: str) -> Iterator[str]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        if "test" in path.as_posix().rsplit("site-packages", 1)[-1]:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                text = ast.get_docstring(node) or ""
                if len(text.split()) > 5 and package not in text.lower():
                    yield text[:CHARACTERS]
