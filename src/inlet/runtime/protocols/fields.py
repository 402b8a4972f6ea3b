"""The fields of a request of another protocol: a JSON object of which what is not known is ignored.

A known field of the wrong type is refused, by its name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from inlet.core.errors import Invalid, TooLarge
from inlet.runtime.dialect import kind
from inlet.runtime.protocols.routed import Empty
from inlet.runtime.tasks.base import MAX_CHARACTERS
from inlet.runtime.tasks.parameters import Parameters


class Fields(Parameters):
    """Those of `values` that are known; `prefix`: the field that they are in, empty for the body itself."""

    def __init__(self, values: Mapping[str, Any], known: Collection[str], *, prefix: str = "") -> None:
        super().__init__({name: values[name] for name in known if name in values}, known, prefix=prefix)

    def _field(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix else name


def string(value: Any, field: str) -> str:
    """A text of any length that a model could take."""
    if not isinstance(value, str):
        raise Invalid(f"expected a string, got {kind(value)}", field=field)
    if len(value) > MAX_CHARACTERS:
        raise TooLarge(f"{len(value)} characters, more than {MAX_CHARACTERS}; split the text", field=field)
    return value


def listed(value: Any, field: str, *, most: int) -> list[Any]:
    """A list of 1 to `most` items."""
    if not isinstance(value, list):
        raise Invalid(f"expected a list, got {kind(value)}", field=field)
    if not value:
        raise Empty("must not be empty", field=field)
    if len(value) > most:
        raise Invalid(
            f"{len(value)} items, more than the {most} that one request may have; send several", field=field
        )
    return value


def mapping(value: Any, field: str) -> Mapping[str, Any]:
    """An object; None stands for an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Invalid(f"expected an object, got {kind(value)}", field=field)
    return value
