"""What an artifact says about itself: how it was made, every variant's figures, what was chosen and why.

Written once by `build`, kept by `store`, shown by `/info` and `inlet artifact show`. Pure: values and their JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Self

from inlet.core.errors import Refused
from inlet.runtime.artifact.gate import Difference, Verdict
from inlet.runtime.engines.base import Variant

FORMAT = 1
CORPUS = "corpus"
"""The name of our own set of texts among the verdicts; other names are of files that people brought."""
TRAFFIC = "traffic"
"""The set of callers' texts: never in a manifest, because other machines may pull it."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One variant: its best times in ms by tokens (one text, every thread), and the gate's verdicts by set of texts.

    Without a verdict it was not judged: it is the reference, or not fast enough to be of use.
    """

    variant: Variant
    milliseconds: Mapping[str, float]
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Fails closed: what was not judged has not passed."""
        return bool(self.verdicts) and all(verdict.passed for verdict in self.verdicts.values())


@dataclass(frozen=True, slots=True)
class Manifest:
    """`model` is its name for people, `key` all that the artifact was made for; `files` maps names to sha256 and size. No files: computed from the model's own."""

    model: str
    key: Mapping[str, Any]
    made_by: str
    made_at: str
    threads: int
    chosen: Variant
    reason: str
    tried: tuple[Tried, ...]
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The artifact's name: the hash of everything that it says, and so of its files."""
        return sha256(self.dump()).hexdigest()

    def dump(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True).encode()

    @classmethod
    def load(cls, content: bytes) -> Self:
        """`Refused` when it is damaged or of another version."""
        try:
            values = json.loads(content)
            if values.pop("format") != FORMAT:
                raise Refused("the artifact was made by another version of Inlet; build it again")
            tried = tuple(_tried(item) for item in values.pop("tried"))
            files = {name: _entry(entry) for name, entry in values.pop("files").items()}
            chosen, key = Variant(**values.pop("chosen")), dict(values.pop("key"))
            return cls(**values, chosen=chosen, key=key, tried=tried, files=files)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise Refused(
                "the artifact's manifest.json is damaged; remove the artifact and build it again"
            ) from error


def _entry(values: Mapping[str, Any]) -> dict[str, Any]:
    size = int(values["size"])
    if size < 0:
        raise ValueError(size)
    return {"sha256": str(values["sha256"]), "size": size}


def _tried(values: Mapping[str, Any]) -> Tried:
    verdicts = {
        name: Verdict(
            tuple(found["reasons"]), found["figures"], tuple(Difference(**worst) for worst in found["worst"])
        )
        for name, found in values["verdicts"].items()
    }
    return Tried(Variant(**values["variant"]), values["milliseconds"], verdicts)
