"""Answers as bytes: JSON values, and every error of the replica as its HTTP answer. The one place that does so."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from inlet.core.errors import InletError, TooMany
from inlet.runtime.body import Endless

_JSON = "application/json"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. A body that is made piece by piece is sent as it comes, and closed when its reader has gone."""

    status: int
    body: bytes | AsyncGenerator[bytes, None]
    content_type: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def dump(value: Any) -> bytes:
    """JSON of plain values and numpy's; NaN and infinities become null. Lists go item by item.

    Item by item, because one call holds the interpreter for as long as it lasts, and answers can have megabytes.
    """
    if isinstance(value, list):
        return b"[" + b",".join(orjson.dumps(item, option=_OPTIONS) for item in value) + b"]"
    return orjson.dumps(value, option=_OPTIONS)


def ok(value: Any, headers: dict[str, str] | None = None) -> Answer:
    """200 with a JSON value."""
    return Answer(200, dump(value), headers=headers or {})


def refusal(status: int, message: str, *, headers: dict[str, str] | None = None, **more: str) -> Answer:
    """`{"error": message}` and what else is said."""
    return Answer(status, orjson.dumps({"error": message, **more}), headers=headers or {})


def from_error(error: InletError) -> Answer:
    """The answer for an error that was raised on purpose."""
    headers = {}
    if isinstance(error, TooMany):
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if isinstance(error, Endless):
        headers["connection"] = "close"
    return refusal(error.status, str(error), headers=headers)
