"""From an HTTP request to what a handler is called with, and back. Used by the worker in the replica.

Only looks at what the body is: a handler gets a JSON object as it came, with every field that its callers chose to send.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from inlet.core.errors import Invalid
from inlet.core.handlers import TASK
from inlet.runtime import body
from inlet.runtime.answers import Answer
from inlet.runtime.body import UnsupportedMediaType
from inlet.runtime.serving import Asked
from inlet.runtime.worker.frames import Message
from inlet.runtime.worker.program import Question

# One of these a body must have: callers of the stock container send the first two, those of MLflow's server any.
_INPUTS = frozenset({"inputs", "instances", "dataframe_split", "dataframe_records"})
# What raw media begin with, for callers that do not say what they send.
_BEGINNINGS = (
    (b"\x89PNG", "image"), (b"\xff\xd8\xff", "image"), (b"GIF8", "image"), (b"BM", "image"), (b"II*\0", "image"), (b"MM\0*", "image"),
    (b"fLaC", "audio"), (b"OggS", "audio"), (b"ID3", "audio"), (b"\xff\xfb", "audio"), (b"\x1aE\xdf\xa3", "audio"), (b"#!AMR", "audio"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HandlerInterpreter:
    """The half of a handler that stays in the replica. `described`: what `GET /info` says of it."""

    described: Mapping[str, Any]
    task: str = TASK

    def question(self, asked: Asked) -> Question:
        """`UnsupportedMediaType` or `Invalid` for what no handler gets."""
        kind = _kind(asked)
        content = _json(asked) if kind == "json" else asked.content
        query = parse_qsl(asked.query_string, keep_blank_values=True)
        head = {"kind": kind, "query": query, "accept": asked.headers.get("accept", "")}
        return _Question(Message(head, [content]))

    def describe(self) -> Mapping[str, Any]:
        return self.described


@dataclass(frozen=True, slots=True)
class _Question:
    """What a handler answers is the answer, whatever was asked."""

    message: Message

    def answer(self, reply: Message) -> Answer:
        return Answer(200, b"".join(reply.blobs), _type(reply))

    def stream(self, first: Message, rest: AsyncGenerator[Message, None]) -> Answer:
        return Answer(200, _pieces(first, rest), _type(first))


async def _pieces(first: Message, rest: AsyncGenerator[Message, None]) -> AsyncGenerator[bytes, None]:
    try:
        yield b"".join(first.blobs)
        async for message in rest:
            yield b"".join(message.blobs)
    finally:
        await rest.aclose()


def _type(reply: Message) -> str:
    """The content type, in which nothing may end the header."""
    text = str(reply.head.get("type", "text/plain"))
    return text if text.isascii() and text.isprintable() else "application/octet-stream"


def _kind(asked: Asked) -> str:
    said = asked.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    family = said.split("/", 1)[0]
    if family in ("image", "audio"):
        return family
    if said in ("", "application/octet-stream", "application/x-www-form-urlencoded"):
        return _sniffed(asked.content)
    return "json"


def _sniffed(content: bytes) -> str:
    if content[:4] == b"RIFF":
        return "image" if content[8:12] == b"WEBP" else "audio"
    return next((kind for beginning, kind in _BEGINNINGS if content.startswith(beginning)), "json")


def _json(asked: Asked) -> bytes:
    """The body as it came, in UTF-8, once it is known to be an object that a handler may get."""
    try:
        value = body.parse(asked.content, asked.headers)
    except UnsupportedMediaType as error:
        raise UnsupportedMediaType(f"{error}; or raw media as image/… or audio/…") from error
    if _INPUTS.isdisjoint(value):
        raise Invalid('missing; send {"inputs": …}', field="inputs")
    charset = asked.headers.get("content-type", "").lower().partition("charset=")[2].strip('" ')
    return asked.content if charset in ("", "utf-8", "utf8") else orjson.dumps(value)
