"""The pieces of an OpenAI answer as one: what llama.cpp streams, in the form in which it answers whole. Pure.

Called by `serving`, which asks for a stream even where its caller wants none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from inlet.runtime.foreign.upstream import BadGateway
from inlet.runtime.generation.usage import Usage

_TEXTS = ("content", "reasoning_content")


async def assembled(pieces: AsyncIterator[Mapping[str, Any]], usage: Usage) -> dict[str, Any]:
    """The whole answer to a chat or a completion. `BadGateway` if the end of a choice is missing."""
    answer: dict[str, Any] = {}
    choices: dict[int, _Choice] = {}
    async for piece in pieces:
        usage.add(piece)
        found = piece["choices"]
        for choice in found:
            choices.setdefault(choice["index"], _Choice()).add(choice)
        # Times of a whole answer are those of its first choice.
        if not answer or not found or found[0]["index"] == 0:
            answer.update(piece)
    if not choices or not all(choice.reason for choice in choices.values()):
        raise BadGateway("llama.cpp broke off before the end")
    answer["object"] = answer["object"].removesuffix(".chunk")
    answer["usage"] = usage.whole()
    answer["choices"] = [choices[index].whole(index) for index in sorted(choices)]
    return answer


class _Choice:
    """One of the answers that were asked for; a message of a chat, or a text."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._text: str | None = None
        self._message: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._tokens: list[Any] | None = None

    def add(self, choice: Mapping[str, Any]) -> None:
        self.reason = choice["finish_reason"] or self.reason
        if logprobs := choice.get("logprobs"):
            self._tokens = (self._tokens or []) + logprobs["content"]
        if "text" in choice:
            self._text = (self._text or "") + choice["text"]
            return
        delta = choice["delta"]
        self._message.setdefault("role", delta.get("role", "assistant"))
        for name in _TEXTS:
            if delta.get(name) is not None:
                self._message[name] = self._message.get(name, "") + delta[name]
        for call in delta.get("tool_calls") or ():
            self._add_call(call)

    def _add_call(self, call: Mapping[str, Any]) -> None:
        """The first piece of a call has its name and id; all have some of its arguments."""
        known = self._calls.setdefault(
            call["index"], {"type": "function", "function": {"name": "", "arguments": ""}}
        )
        if "id" in call:
            known["id"] = call["id"]
        for name, text in call["function"].items():
            known["function"][name] += text

    def whole(self, index: int) -> dict[str, Any]:
        logprobs = None if self._tokens is None else {"content": self._tokens}
        ended = {"index": index, "logprobs": logprobs, "finish_reason": self.reason}
        if self._text is not None:
            return {"text": self._text, **ended}
        calls = {"tool_calls": [self._calls[place] for place in sorted(self._calls)]} if self._calls else {}
        return {"message": {"content": None if calls else "", **self._message, **calls}, **ended}
