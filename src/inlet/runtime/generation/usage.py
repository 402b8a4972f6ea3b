"""How many tokens an OpenAI request took, over all its answers: llama.cpp tells it of each answer by itself. Pure.

Called by `assembly` for whole answers and by `serving` for streams.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

_DATA, _BETWEEN = b"data: ", b"\n\n"
_END, _NOTHING = b"[DONE]", b"null"
_TOLD = b'"usage"'  # within texts the quotation marks are escaped
_OF_ALL = ("id", "object", "created", "model")  # fields that are the same for every answer


class Usage:
    """The sum. `each`: answers to each prompt, which follow each other; the prompt counts once."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._generated = 0
        self._prompts: dict[int, Mapping[str, Any]] = {}

    def add(self, piece: Mapping[str, Any]) -> None:
        """A piece of a stream, which may be the one that tells of its answer. In chats that has no choice, and there is one prompt."""
        told = piece.get("usage")
        if told is None:
            return
        self._generated += told["completion_tokens"]
        prompt = piece["choices"][0]["index"] // self._each if piece["choices"] else 0
        # The first answer to a prompt computes it, and the others find it done: what was found before is the least of all.
        self._prompts[prompt] = min(self._prompts.get(prompt, told), told, key=_cached)

    def whole(self) -> dict[str, Any]:
        """As OpenAI has it."""
        read = sum(told["prompt_tokens"] for told in self._prompts.values())
        return {
            "completion_tokens": self._generated,
            "prompt_tokens": read,
            "total_tokens": read + self._generated,
            "prompt_tokens_details": {"cached_tokens": sum(map(_cached, self._prompts.values()))},
        }


async def totalled(
    pieces: AsyncGenerator[bytes, None], usage: Usage, *, wanted: bool
) -> AsyncGenerator[bytes, None]:
    """A stream of several answers with one sum at its end, if that is `wanted`, instead of one number for each answer."""
    last: dict[str, Any] = {}
    async with aclosing(pieces):
        rest = b""
        async for piece in pieces:
            *events, rest = (rest + piece).split(_BETWEEN)
            for event in events:
                value = event.removeprefix(_DATA)
                # llama.cpp's word for an answer that has no more to say, which no client knows.
                if value == _NOTHING:
                    continue
                if value == _END and wanted and last:
                    sums = {"choices": [], "usage": usage.whole()}
                    yield _DATA + orjson.dumps({name: last[name] for name in _OF_ALL} | sums) + _BETWEEN
                if value == event or _TOLD not in value:
                    yield event + _BETWEEN
                    continue
                last = orjson.loads(value)
                usage.add(last)
                del last["usage"]
                if last["choices"]:
                    yield _DATA + orjson.dumps(last) + _BETWEEN
        yield rest


def _cached(told: Mapping[str, Any]) -> int:
    return int(told.get("prompt_tokens_details", {}).get("cached_tokens", 0))
