"""Log lines on the wire: plain text, JSON entries, levels, and the cursors between pages.

Called by `control/observability.py`. A level is only given where the line itself says it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from inlet.core.errors import Invalid
from inlet.wire.v2.render import timestamp

DEFAULT_LIMIT = 1000
MAX_LIMIT = 5000
LEVELS = ("debug", "info", "warning", "error", "critical")

_ALIASES = {"warn": "warning", "fatal": "critical", "err": "error", "trace": "debug"}
_WORD = re.compile(r"\b(DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)\b")
_WITHIN = 48  # characters from the start of a line in which a level stands, if there is one

Position = tuple[float, int]
"""A line's place: its time, and its number among the lines of that time."""


class Line(Protocol):
    """What a backend yields (`backends.base.LogLine`)."""

    @property
    def at(self) -> float: ...
    @property
    def replica_id(self) -> str: ...
    @property
    def stream(self) -> str: ...
    @property
    def line(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines. Times in seconds since the epoch; `after` and `before` exclude the line that they name."""

    level: str | None = None
    search: str | None = None
    since: float | None = None
    until: float | None = None
    after: Position | None = None
    before: Position | None = None

    def takes(self, line: Line, position: Position) -> bool:
        """Whether a line at this position is asked for."""
        return (
            (self.since is None or line.at >= self.since)
            and (self.until is None or line.at <= self.until)
            and (self.after is None or position > self.after)
            and (self.before is None or position < self.before)
            and (self.search is None or self.search.lower() in line.line.lower())
            and (self.level is None or level_of(line.line) == self.level)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Lines, oldest first, with the position of each; `older` and `newer`: whether there are more on that side."""

    lines: tuple[tuple[Position, Line], ...]
    older: bool
    newer: bool


async def positioned(lines: AsyncIterator[Line]) -> AsyncIterator[tuple[Position, Line]]:
    """Each line with its position."""
    at, number = 0.0, 0
    async for line in lines:
        number = number + 1 if line.at == at else 0
        at = line.at
        yield (at, number), line


async def page(lines: AsyncIterator[Line], wanted: Filter, *, limit: int, newest: bool) -> Page:
    """The newest (or oldest) `limit` lines that the filter takes, in bounded memory."""
    kept: deque[tuple[Position, Line]] = deque(maxlen=limit if newest else None)
    count = 0
    async for position, line in positioned(lines):
        if not wanted.takes(line, position):
            continue
        count += 1
        kept.append((position, line))
        if not newest and count > limit:
            kept.pop()
            break
    more = count > limit
    return Page(
        tuple(kept),
        older=(newest and more) or wanted.after is not None,
        newer=(not newest and more) or wanted.before is not None,
    )


def level_of(line: str) -> str | None:
    """The level that a line names: a JSON line by its `level`, another by a word near its start; else None."""
    if line.startswith("{"):
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        word = entry.get("level") or entry.get("severity") or entry.get("levelname")
        return _level(word) if isinstance(word, str) else None
    match = _WORD.search(line, 0, _WITHIN)
    return _level(match[1]) if match else None


def _level(word: str) -> str | None:
    lower = word.lower()
    level = _ALIASES.get(lower, lower)
    return level if level in LEVELS else None


def render_entry(line: Line, *, longest: int | None) -> dict[str, Any]:
    """One entry of the JSON form."""
    entry = {
        "timestamp": timestamp(line.at),
        "line": cut(line.line, longest),
        "stream": line.stream,
        "replica_id": line.replica_id,
    }
    level = level_of(line.line)
    return entry if level is None else {**entry, "level": level}


def render_line(line: Line, *, longest: int | None) -> str:
    """One line of the download: time, replica, level (`-` where there is none), text."""
    level = level_of(line.line) or "-"
    return f"{timestamp(line.at)} {line.replica_id} {level} {cut(line.line, longest)}\n"


def cut(text: str, longest: int | None) -> str:
    """At most `longest` characters."""
    return text if longest is None or len(text) <= longest else text[:longest]


def write_position(position: Position) -> str:
    """An opaque cursor."""
    return base64.urlsafe_b64encode(f"{position[0]!r} {position[1]}".encode()).decode().rstrip("=")


def read_position(text: str, *, field: str) -> Position:
    """The position that a cursor names."""
    try:
        at, number = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii").split(" ")
        return float(at), int(number)
    except (ValueError, binascii.Error):
        raise Invalid("is not a cursor of this log: take it from a Link header", field=field) from None


def read_time(text: str, *, field: str) -> float:
    """RFC 3339 to seconds since the epoch."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Invalid("must be a time like 2026-11-24T09:12:41Z", field=field) from None
