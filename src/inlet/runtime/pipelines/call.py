"""What passes between a replica and the worker that computes for it: calls, results, and refusals. Pure; used by both sides.

Inputs are one item per text, image, recording or question, in a canonical form that each reader in `tasks/` states. Bytes
travel beside the JSON: where a value has some, it is `{"$blob": index}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_BLOB, _SHAPE = "$blob", "shape"
FLOATS = "application/x-float32"
"""The content type of an array: little-endian numbers of 32 bits; its value says the `shape` beside the index."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes, and what they are."""

    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request's work. `inputs`: its items; `parameters`: checked, only those that were sent."""

    inputs: list[Any]
    parameters: Mapping[str, Any]
    blobs: list[bytes]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a call: one value per item of its inputs."""

    value: list[Any]
    blobs: list[Blob]


class BadInput(Exception):
    """The caller's fault, found only where the model is. `field`: where in the call, as in `inputs[2].image`."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.message, self.field = message, field


def reference(index: int, shape: tuple[int, ...] | None = None) -> dict[str, Any]:
    """What stands for blob number `index`; an array's has a shape."""
    return {_BLOB: index} if shape is None else {_BLOB: index, _SHAPE: list(shape)}


def resolved(value: Any, get: Callable[[int, list[int] | None], Any]) -> Any:
    """A JSON value with `get(index, shape)` in place of each reference."""
    if isinstance(value, dict):
        if isinstance(index := value.get(_BLOB), int):
            return get(index, value.get(_SHAPE))
        return {name: resolved(item, get) for name, item in value.items()}
    if isinstance(value, list):
        return [resolved(item, get) for item in value]
    return value
