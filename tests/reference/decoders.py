"""Small decoders of every family, and how transformers continues texts with them. `make_decoders.py` makes both; repeated
runs read the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.reference import REQUIREMENTS, ROOT, python

_SCRIPT = Path(__file__).with_name("make_decoders.py")


@dataclass(frozen=True)
class Continuation:
    """A text, its tokens, and for each step of the likeliest continuation the top tokens with their log probabilities."""

    prompt: str
    ids: list[int]
    steps: list[list[tuple[int, float]]]


@dataclass(frozen=True)
class Decoders:
    """`folder / name` is a model."""

    folder: Path
    answers: dict[str, list[Continuation]]


@cache
def decoders() -> Decoders:
    """Models and continuations; the first time this takes half a minute."""
    version = hashlib.sha256(_SCRIPT.read_bytes() + "\n".join(REQUIREMENTS).encode()).hexdigest()[:16]
    folder = ROOT / ".cache" / "decoders" / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not (folder / "answers.json").exists():
            subprocess.run([python(), _SCRIPT, folder], check=True)
    answers: dict[str, Any] = json.loads((folder / "answers.json").read_bytes())
    return Decoders(
        folder, {name: [Continuation(**one) for one in several] for name, several in answers.items()}
    )
