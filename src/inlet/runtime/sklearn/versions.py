"""With which scikit-learn a model was saved, against the one that is installed. Used by `opening`; pure.

A model saved with another version may load and answer differently, or fail in the middle of a request: people must see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# `scikit-learn=1.5.2` as skops writes it, `scikit-learn==1.5.2` as pip does; anything looser says no version.
_PIN = re.compile(r"scikit[-_]learn\s*={1,3}\s*(\d+(?:\.\w+)*)\s*(?:[;#].*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Versions:
    """`saved`: None where the model does not tell."""

    saved: str | None
    installed: str

    @property
    def mismatch(self) -> str | None:
        """What to know and to do when the two differ by more than a bug-fix release; None when they do not."""
        if self.saved is None or self.saved.split(".")[:2] == self.installed.split(".")[:2]:
            return None
        return (
            f"the model was saved with scikit-learn {self.saved} and {self.installed} is installed, so it may answer otherwise "
            f"or fail: install scikit-learn=={self.saved}, or save the model again"
        )


def pinned(requirements: Iterable[object]) -> str | None:
    """The version of scikit-learn that these lines ask for; None where they do not say one."""
    for line in requirements:
        if isinstance(line, str) and (found := _PIN.fullmatch(line.strip())):
            return found[1]
    return None
