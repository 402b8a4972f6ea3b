"""What an endpoint's owner allows a model's files to run when they are loaded, as variables of its own. Pure.

Read by the API, which refuses what cannot be, and by replicas. Nothing is allowed unless it is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from inlet.core.errors import Invalid

ALLOW_PICKLE = "INLET_ALLOW_PICKLE"
TRUSTED_TYPES = "INLET_TRUSTED_TYPES"
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@dataclass(frozen=True, slots=True)
class Trust:
    """`pickle`: files that can run any code. `types`: dotted names of classes and functions beyond the libraries' own."""

    pickle: bool
    types: tuple[str, ...]


def trust_of(environ: Mapping[str, str]) -> Trust:
    """What these variables allow; `Invalid` names the one that cannot be read."""
    return Trust(pickle_of(environ.get(ALLOW_PICKLE) or "0"), types_of(environ.get(TRUSTED_TYPES) or ""))


def pickle_of(text: str, *, field: str = ALLOW_PICKLE) -> bool:
    """`Invalid` unless it is 1 or 0."""
    if text.strip() not in ("0", "1"):
        raise Invalid(f"{text!r} is neither 1 nor 0", field=field)
    return text.strip() == "1"


def types_of(text: str, *, field: str = TRUSTED_TYPES) -> tuple[str, ...]:
    """Names separated by commas; `Invalid` for one that is no dotted name."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not _DOTTED.fullmatch(name):
            raise Invalid(f"{name!r} is not the full name of a type, like package.module.Type", field=field)
    return names
