"""JSON of a schema: the grammar for it, and whether llama.cpp really holds an answer to that.

Called by `openai` and `parameters` (`grammar_of`) and by `serving` (`Constraints`). llama.cpp puts a schema that it cannot compile
aside and generates any text, so each grammar is tried on one token before it is relied on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from inlet.core.errors import Invalid

_MARK = "%llguidance"
_REPEATING = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_MOST_REPEATED = 1_000  # of what is compiled one by one: a thousand millions would take all memory
_NEVER = "X"  # begins no JSON
_MOST_KEPT = 1_000


def grammar_of(schema: Any, field: str) -> str:
    """The grammar, in llama.cpp's own form. `Invalid`, with the field, for what is no schema or would not fit."""
    if not isinstance(schema, Mapping):
        raise Invalid("expected a JSON schema as an object", field=field)
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, Mapping):
            waiting += value.values()
            for name in _REPEATING:
                count = value.get(name)
                if isinstance(count, int | float) and count > _MOST_REPEATED:
                    raise Invalid(f"{name} must be at most {_MOST_REPEATED}, got {count}", field=field)
    return f"{_MARK} {{}}\nstart: %json {orjson.dumps(schema).decode()}"


def check_own(grammar: Any, field: str) -> None:
    """`Invalid` unless it is a grammar of a caller's own that llama.cpp bounds by itself."""
    if grammar is not None and (not isinstance(grammar, str) or grammar.lstrip().startswith(_MARK)):
        raise Invalid("expected a grammar in GBNF; for JSON send a schema instead", field=field)


class Constraints:
    """Which grammars hold. `complete` asks llama.cpp for a completion and gives its JSON."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()

    async def check(
        self, grammar: str, complete: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]], field: str
    ) -> None:
        """`Invalid`, with the field, if answers would not keep to it. One of a caller's own is llama.cpp's to judge."""
        if not grammar.startswith(_MARK):
            return
        name = hashlib.sha256(grammar.encode()).digest()
        if name in self._known:
            return
        tried = await complete(
            {
                "prompt": "a",
                "n_predict": 1,
                "temperature": 0.0,
                "grammar": grammar,
                "logit_bias": [[_NEVER, 1_000.0]],
                "cache_prompt": False,
            }
        )
        if _NEVER in tried["content"]:
            raise Invalid(
                "answers cannot be held to this JSON schema: it is wrong, or uses what is not supported "
                "(not, formats, references elsewhere); the replica's log says which",
                field=field,
            )
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()
        self._known.add(name)
