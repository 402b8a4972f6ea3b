"""The seam between what is measured and how: a system is installed, started, called over HTTP, and stopped.

`rounds` and `scenarios/` know nothing else of a server. One entry per system is in `registry`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from benchmarks.load import Call
from benchmarks.workload import Answer


class NotMeasured(Exception):
    """Why a system cannot be measured here; the report says it in place of figures."""


@dataclass(frozen=True)
class Dialect:
    """How a system is asked and how it answers: `body` of a text, `read` of an answer's body."""

    path: str
    body: Callable[[str], Any]
    read: Callable[[Any], Answer]
    headers: tuple[tuple[str, str], ...] = ()

    def call(self, text: str, number: int, *, keep_alive: bool = True) -> Call:
        """The request's bytes, made beforehand so that the generator has nothing to do but to send them."""
        body = json.dumps(self.body(text)).encode()
        lines = [
            f"POST {self.path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers),
            *([] if keep_alive else ["Connection: close"]),
        ]
        return Call("\r\n".join([*lines, "", ""]).encode() + body, number)

    def read_bytes(self, body: bytes) -> Answer:
        """`ValueError`, `LookupError` or `TypeError` when it is no answer."""
        return self.read(json.loads(body))


def best(items: Any) -> Answer:
    """`[{"label": …, "score": …}]`, or one such object."""
    item = items[0] if isinstance(items, list) else items
    return Answer(item["label"], float(item["score"]))


INPUTS = Dialect("/", lambda text: {"inputs": text}, best)


class Served(Protocol):
    """A system that answers. `precision`: what it computes in, and so what its answers are compared as."""

    port: int
    dialect: Dialect
    precision: str

    def processes(self) -> Sequence[psutil.Process]:
        """Those that serve, for their memory and processor time."""


class System(Protocol):
    """`note`: what a reader must know of it."""

    name: str
    note: str

    def install(self) -> None:
        """Make what it needs; `NotMeasured` with the reason when that cannot be had."""

    def serve(self, model: Path) -> AbstractContextManager[Served]:
        """Started and answering while the block runs; `NotMeasured` when it does not start."""
