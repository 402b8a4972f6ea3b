"""Content types that an answer may have, by the request's Accept header. Pure; used by tasks that answer with media."""

from __future__ import annotations

from collections.abc import Sequence

from inlet.core.errors import Invalid

_LONGEST = 1_000  # characters; what a browser sends has some hundred


def preferred(header: str, offers: Sequence[str]) -> str:
    """The offer that the caller likes best; of those that it likes as well as another, the first.

    A header that is empty, or says nothing that can be read, accepts everything. `Invalid` when nothing on offer will do.
    """
    ranges = _ranges(header[:_LONGEST])
    if not ranges:
        return offers[0]
    quality, best = max(
        ((_quality(offer, ranges), offer) for offer in offers), key=lambda rated: rated[0]
    )  # `max` keeps the first of equals
    if quality <= 0:
        raise Invalid(f"this task answers with {', '.join(offers)}", field="Accept")
    return best


def names(header: str, content_type: str) -> bool:
    """Whether the caller asks for this very type, not only for anything."""
    return any(name == content_type and quality > 0 for name, quality in _ranges(header[:_LONGEST]))


def _ranges(header: str) -> list[tuple[str, float]]:
    """Media ranges in lower case with their quality."""
    found = []
    for part in header.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if "/" in name:
            found.append((name, _weight(parameters)))
    return found


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 1.0
            return weight if 0 <= weight <= 1 else 1.0
    return 1.0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """The quality by the most specific range that the offer is in."""
    for wanted in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
