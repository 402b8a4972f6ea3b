"""What is said between the replica and llama.cpp's server, beside what is passed through: its answers, events and errors.

Called by `serving` and `openai`. Whatever llama.cpp blames on the request becomes `Invalid`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from inlet.core.errors import InletError, Invalid
from inlet.runtime.foreign.upstream import BadGateway, Reply

_TOO_LONG = "exceed_context_size_error"
_TOO_LARGE = "is too large to process"  # of a text to be embedded or ranked
_NO_VALUES = (b"[DONE]", b"null")  # events of a stream that tell nothing
# It answers 500 when it cannot make a prompt of a request. These are the beginnings of what it says then.
_BLAMES_REQUEST = (
    "Failed to parse",
    "Failed to initialize",
    "image input",
    "audio input",
    "Unable to generate parser",
)


class PromptTooLong(Invalid):
    """A prompt that leaves no room in the context."""


async def result(reply: Reply) -> Any:
    """The JSON of a good answer; raises the error that another one tells."""
    await check(reply)
    return _json(await reply.read())


async def check(reply: Reply) -> None:
    """Raise the error that it tells, unless it is a good answer."""
    if reply.status != 200:
        raise _error(_json(await reply.read()))


async def whole(reply: Reply) -> dict[str, Any]:
    """A stream of a completion as one value: its end, with all of the text and all tokens."""
    text, last = "", None
    tokens: list[Any] = []
    async for found in results(reply):
        text += found["content"]
        tokens += found.get("completion_probabilities") or ()
        last = found
    if last is None or not last["stop"]:
        raise BadGateway("llama.cpp broke off before the end")
    return {**last, "content": text, "completion_probabilities": tokens}


async def results(reply: Reply) -> AsyncGenerator[Mapping[str, Any], None]:
    """The values of a stream, as they come; raises the error that it tells in between."""
    async with aclosing(reply.pieces):
        rest = b""
        async for piece in reply.pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                name, _, value = line.partition(b": ")
                if name == b"data" and value.strip() not in _NO_VALUES:
                    found = _json(value)
                    if "error" in found:
                        raise _error(found)
                    yield found


def _error(value: Any) -> InletError:
    said = value.get("error") if isinstance(value, Mapping) else None
    if not isinstance(said, Mapping):
        return BadGateway("llama.cpp failed and did not say why; the replica's log may")
    message = str(said.get("message"))
    if said.get("type") == _TOO_LONG:
        return PromptTooLong(
            f"the prompt has {said.get('n_prompt_tokens')} tokens, more than the {said.get('n_ctx')} that prompt and answer may "
            "have together; shorten it"
        )
    if _TOO_LARGE in message:
        return PromptTooLong("a text has more tokens than this model takes at once; shorten it")
    code = said.get("code")
    if (isinstance(code, int) and 400 <= code < 500) or message.startswith(_BLAMES_REQUEST):
        return Invalid(message)
    return BadGateway(f"llama.cpp failed: {message}")


def _json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadGateway("llama.cpp did not answer with JSON") from error
