"""Parameters as tables: what each may be, and how they are read. Used by the tasks of this package.

A field reads one parameter and answers its value, or None when it was not sent or is null; `Invalid` names it and says
what it may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from inlet.core.errors import Invalid
from inlet.runtime.tasks.parameters import Parameters

MAX_CHARACTERS = 10_000  # in one string of a list, such as a label


class Values(Parameters):
    """Parameters with bounds at both ends."""

    def number(self, name: str) -> float | None:
        """Finite. A URL's query has only strings, so one that reads as a number will do."""
        value = self._values.get(name)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise self._wrong(name, "a number", value) from None
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self._wrong(name, "a finite number", value)
        return float(value)

    def within(self, name: str, known: Collection[str]) -> Values:
        value = self._values.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise self._wrong(name, "an object", value)
        return Values(value or {}, known, prefix=self._field(name))

    def get(self, name: str) -> Any:
        """The value as it was sent."""
        return self._values.get(name)

    def invalid(self, name: str, message: str) -> Invalid:
        """An error that names the parameter."""
        return Invalid(message, field=self._field(name))


Field = Callable[[Values, str], Any]
Fields = Mapping[str, Field]


def integer(minimum: int, maximum: int) -> Field:
    """A whole number from `minimum` to `maximum`."""
    return lambda values, name: values.integer(name, None, minimum=minimum, maximum=maximum)


def number(minimum: float, maximum: float, *, above: bool = False) -> Field:
    """A number from `minimum` (or above it) to `maximum`."""

    def read(values: Values, name: str) -> float | None:
        value = values.number(name)
        if value is not None and not (minimum <= value <= maximum and not (above and value == minimum)):
            lowest = f"more than {minimum:g}" if above else f"at least {minimum:g}"
            raise values.invalid(name, f"must be {lowest} and at most {maximum:g}, got {value:g}")
        return value

    return read


def boolean(values: Values, name: str) -> bool | None:
    """True or false."""
    return values.boolean(name, None)


def truncation(values: Values, name: str) -> bool | None:
    """A boolean or one of the tokenizers' strategies, as a boolean."""
    return values.truncation(name)


def padding(values: Values, name: str) -> None:
    """Checked and dropped: padding is masked out, so it changes no answer."""
    values.check_padding(name)


def string(longest: int) -> Field:
    """A string of at most so many characters."""

    def read(values: Values, name: str) -> str | None:
        value = values.string(name, None)
        if value is not None and len(value) > longest:
            raise values.invalid(name, f"{len(value)} characters, more than {longest}")
        return value

    return read


def choice(*allowed: str) -> Field:
    """One of these words, in any case."""
    return lambda values, name: values.choice(name, allowed, None)


def strings(most: int, *, commas: bool = False, least: int = 0) -> Field:
    """A list of `least` to `most` strings; with `commas` also a string that such a list is written as."""

    def read(values: Values, name: str) -> list[str] | None:
        if not values.has_value(name):
            return None
        found = values.listed(name) if commas else values.strings(name, [])
        if not least <= len(found) <= most:
            raise values.invalid(name, f"{len(found)} items; send {least} to {most}")
        if any(len(item) > MAX_CHARACTERS for item in found):
            raise values.invalid(name, f"one of them has more than {MAX_CHARACTERS} characters")
        return found

    return read


def read(values: Values, fields: Fields) -> dict[str, Any]:
    """Those parameters that were sent and say something."""
    found = {name: field(values, name) for name, field in fields.items()}
    return {name: value for name, value in found.items() if value is not None}
