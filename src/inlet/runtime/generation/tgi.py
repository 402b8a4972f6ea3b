"""Answers of llama.cpp in the form of text-generation-inference, whole and as a stream of events: pure.

Called by `serving`. Names of fields are theirs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from inlet.core.errors import InletError, Invalid, TooMany
from inlet.runtime import answers
from inlet.runtime.answers import Answer
from inlet.runtime.generation.parameters import Wanted

_REASONS = {"eos": "eos_token", "word": "stop_sequence", "limit": "length"}
_INVALID, _OVERLOADED, _FAILED = "validation", "overloaded", "generation"


def generated(result: Mapping[str, Any], wanted: Wanted, before: str = "") -> dict[str, Any]:
    """The answer to a request that is not streamed; `before` stands in front of the text."""
    text = {"generated_text": before + result["content"]}
    if not wanted.details:
        return text
    found = result["completion_probabilities"]
    more = {"top_tokens": [_top(item) for item in found]} if wanted.top_tokens else {}
    return {
        **text,
        "details": {
            **_end(result, wanted),
            "prefill": [],
            "tokens": [_token(item) for item in found],
            **more,
        },
    }


async def events(
    results: AsyncGenerator[Mapping[str, Any], None], wanted: Wanted, before: str
) -> AsyncGenerator[bytes, None]:
    """One event per piece of text. The last one, which has the whole text with `before`, waits for the end to be known."""
    index, text = 0, ""
    last: dict[str, Any] = {"index": 0, "token": None}
    async with aclosing(results):
        try:
            async for result in results:
                text += result["content"]
                if found := result.get("completion_probabilities"):
                    if index:
                        yield _event(last)
                    index += 1
                    # A piece of text that is one character of several tokens has the last one's numbers.
                    last = {"index": index, "token": {**_token(found[-1]), "text": result["content"]}}
                    if wanted.top_tokens:
                        last["top_tokens"] = _top(found[-1])
                if result["stop"]:
                    details = {**_end(result, wanted), "input_length": result["tokens_evaluated"]}
                    yield _event({**last, "generated_text": before + text, "details": details})
        except InletError as error:  # the status was sent already
            yield b"data:" + orjson.dumps({"error": str(error), "error_type": _error_type(error)}) + b"\n\n"


def refuse(error: InletError) -> Answer:
    """A refusal at the routes of text-generation-inference."""
    plain = answers.from_error(error)
    status = 422 if isinstance(error, Invalid) else plain.status
    return answers.refusal(status, str(error), headers=dict(plain.headers), error_type=_error_type(error))


def _error_type(error: InletError) -> str:
    if isinstance(error, TooMany):
        return _OVERLOADED
    return _INVALID if 400 <= error.status < 500 else _FAILED


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data:" + orjson.dumps({"generated_text": None, "details": None, **value}) + b"\n\n"


def _end(result: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    return {
        "finish_reason": _REASONS[result["stop_type"]],
        "generated_tokens": result["tokens_predicted"],
        "seed": wanted.seed,
    }


def _token(item: Mapping[str, Any]) -> dict[str, Any]:
    # A token that ends the text has none of its own.
    special = not item["token"] and not item["bytes"]
    return {"id": item["id"], "text": item["token"], "logprob": item["logprob"], "special": special}


def _top(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_token(each) for each in item["top_logprobs"]]
