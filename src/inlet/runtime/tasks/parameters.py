"""Reads a request's parameters with their types; every refusal names the field. Used by the tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from inlet.core.errors import Invalid
from inlet.runtime.dialect import kind

D = TypeVar("D")
_LARGEST = 2**64 - 1  # whole numbers of JSON beyond it are read as fractions


class Parameters:
    """The parameters of one request; a name that the task does not know is refused at once."""

    def __init__(
        self, values: Mapping[str, Any], known: Collection[str], *, prefix: str = "parameters"
    ) -> None:
        self._values, self._prefix = values, prefix
        for name in values:
            if name not in known:
                raise Invalid(
                    f"this task has no such parameter; it takes {', '.join(sorted(known))}",
                    field=f"{prefix}.{name}",
                )

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def has_value(self, name: str) -> bool:
        """Whether it was sent and is not null."""
        return self._values.get(name) is not None

    def integer(self, name: str, default: D, *, minimum: int = 0, maximum: int = _LARGEST) -> int | D:
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(name, "a whole number", value)
        if value < minimum:
            raise Invalid(f"must be at least {minimum}, got {value}", field=self._field(name))
        if value > maximum:
            raise Invalid(f"must be at most {maximum}, got {value}", field=self._field(name))
        if isinstance(value, float):
            raise Invalid(f"expected a whole number, got {value}", field=self._field(name))
        return value

    def boolean(self, name: str, default: D) -> bool | D:
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def string(self, name: str, default: D) -> str | D:
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        return value

    def choice(self, name: str, allowed: Collection[str], default: D) -> str | D:
        """One of `allowed`, in any case."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value.lower() not in allowed:
            shown = repr(value) if isinstance(value, str) else kind(value)
            raise Invalid(
                f"expected one of {', '.join(sorted(allowed))}, got {shown}", field=self._field(name)
            )
        return value.lower()

    def strings(self, name: str, default: D) -> list[str] | D:
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, list):
            raise self._wrong(name, "a list of strings", value)
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise Invalid(f"expected a string, got {kind(item)}", field=f"{self._field(name)}[{index}]")
        return value

    def string_or_strings(self, name: str) -> list[str] | None:
        """A single string counts as a list of one."""
        value = self._values.get(name)
        return [value] if isinstance(value, str) else self.strings(name, None)

    def listed(self, name: str) -> list[str]:
        """Strings, or one string with commas between them; none when it is absent."""
        value = self._values.get(name)
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return self.strings(name, [])

    def within(self, name: str, known: Collection[str]) -> Parameters:
        """The parameters in an object of that name; none when it is absent."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise self._wrong(name, "an object", value)
        return Parameters(value or {}, known, prefix=self._field(name))

    def truncation(self, name: str = "truncation") -> bool | None:
        """A boolean or one of the tokenizers' strategy names; None when it was not sent."""
        value = self._values.get(name)
        if isinstance(value, str):
            strategies = ("longest_first", "only_first", "only_second", "do_not_truncate")
            return self.choice(name, strategies, "") != "do_not_truncate"
        return self.boolean(name, None)

    def check_padding(self, name: str = "padding") -> None:
        """Accepted for compatibility: texts are padded by their bucket and the padding is masked out."""
        value = self._values.get(name)
        if isinstance(value, str):
            self.choice(name, ("longest", "max_length", "do_not_pad"), None)
        else:
            self.boolean(name, None)

    def _field(self, name: str) -> str:
        return f"{self._prefix}.{name}"

    def _wrong(self, name: str, expected: str, value: Any) -> Invalid:
        return Invalid(f"expected {expected}, got {kind(value)}", field=self._field(name))
