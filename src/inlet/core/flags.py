"""Switches that people write as text, in the two spellings that there are. Pure; used for our own variables and for the stock container's."""

from __future__ import annotations

from inlet.core.errors import Invalid

_OURS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
_STOCK = frozenset({"1", "true", "yes", "on", "y", "t"})


def flag_of(text: str, *, field: str) -> bool:
    """One of our own: `Invalid` unless it is 1 or 0, or a word for that. Nothing is no."""
    try:
        return _OURS[text.strip().lower()]
    except KeyError:
        raise Invalid(f"{text!r} is not 1 or 0", field=field) from None


def is_on(text: str) -> bool:
    """One of the stock container, for which everything that is not yes is no."""
    return text.strip().lower() in _STOCK
