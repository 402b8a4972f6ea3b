"""A program as a `Serving`: every request goes to it as it came, and its answer back as it comes.

Made by `opening`, asked by `app`. Only the replica's own health and metrics stay here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from inlet.runtime import info
from inlet.runtime.answers import Answer
from inlet.runtime.foreign.behind import Behind
from inlet.runtime.foreign.program import Program
from inlet.runtime.foreign.upstream import Upstream, passed_on
from inlet.runtime.options import Options
from inlet.runtime.serving import Asked, Route

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_OWN = frozenset({"/health", "/metrics"})  # as far as they are read
_PATH = "/:@!$&'()*+,;=~-._"  # what stands in a path as it is
# Made anew for each message on its way.
_REMADE_REQUEST = frozenset({"content-length", "expect", "x-inlet-timeout"})
_REMADE_ANSWER = frozenset({"date", "content-type"})


class Foreign(Behind):
    """One program. Its answers are its own; while it is away requests wait as long as their patience lasts."""

    max_body_bytes = 64_000_000  # what all bodies in hand may have together

    def __init__(self, program: Program, upstream: Upstream, task: str) -> None:
        super().__init__(upstream)
        self._program, self._task = program, task

    @property
    def task(self) -> str:
        return self._task

    async def answer(self, asked: Asked) -> Answer:
        return await self._forward("POST", asked)

    def routes(self, path: str, options: Options) -> Mapping[str, Route]:  # noqa: ARG002 - the routes do not depend on them
        methods = _METHODS if path not in _OWN else [name for name in _METHODS if name not in ("GET", "HEAD")]
        return {method: Route(partial(self._forward, method)) for method in methods}

    def describe(self, options: Options) -> Mapping[str, Any]:
        return {
            **info.of_any(options, self.task),
            "engine": self._program.name,
            "variant": self._program.name,
            "reason": "a program of its own answers",
            "settled": True,
        }

    async def _forward(self, method: str, asked: Asked) -> Answer:
        query = f"?{asked.query_string}" if asked.query_string else ""
        reply = await self._upstream.ask(
            asked,
            method,
            quote(asked.path, safe=_PATH) + query,
            content=asked.content,
            headers=[pair for pair in passed_on(asked.headers.items()) if pair[0] not in _REMADE_REQUEST],
        )
        return Answer(
            reply.status,
            reply.pieces,
            reply.headers.get("content-type", "application/octet-stream"),
            {
                name: value
                for name, value in passed_on(reply.headers.multi_items())
                if name not in _REMADE_ANSWER
            },
        )
