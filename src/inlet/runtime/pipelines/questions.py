"""From a request to the message for a pipeline's worker, and from its reply to the answer. Used by the worker in the replica."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from inlet.runtime import answers
from inlet.runtime.answers import Answer
from inlet.runtime.pipelines.call import Blob, Result
from inlet.runtime.pipelines.tasks import Plan, plan
from inlet.runtime.serving import Asked
from inlet.runtime.worker.frames import Message
from inlet.runtime.worker.program import Question


@dataclass(frozen=True, slots=True)
class PipelineInterpreter:
    """The half of a pipeline that stays in the replica. `described`: what `GET /info` says of it."""

    task: str
    described: Mapping[str, Any]

    def question(self, asked: Asked) -> Question:
        """`Invalid` names the field that is wrong."""
        return _Question(plan(self.task, asked))

    def describe(self) -> Mapping[str, Any]:
        return self.described


@dataclass(frozen=True, slots=True)
class _Question:
    plan: Plan

    @property
    def message(self) -> Message:
        call = self.plan.call
        return Message({"inputs": call.inputs, "parameters": dict(call.parameters)}, call.blobs)

    def answer(self, reply: Message) -> Answer:
        if (refused := reply.head.get("refused")) is not None:
            raise self.plan.refusal(**refused)
        blobs = [Blob(content, kind) for content, kind in zip(reply.blobs, reply.head["types"], strict=True)]
        value = self.plan.shape(Result(reply.head["value"], blobs))
        if isinstance(value, Blob):
            return Answer(200, value.content, value.content_type)
        return Answer(200, answers.dump(value))

    def stream(self, first: Message, rest: AsyncGenerator[Message, None]) -> Answer:
        return Answer(200, self._events(first, rest), "text/event-stream")

    async def _events(
        self, first: Message, rest: AsyncGenerator[Message, None]
    ) -> AsyncGenerator[bytes, None]:
        """As text-generation-inference words them, one for each piece; the last one has the whole text."""
        try:
            said = [first.head["piece"]]
            yield self._event(said)
            async for message in rest:
                said.append(message.head["piece"])
                yield self._event(said)
        finally:
            await rest.aclose()

    def _event(self, said: list[dict[str, Any]]) -> bytes:
        piece = said[-1]
        last = "finish_reason" in piece
        event = {
            "index": len(said),
            # Pieces are whole characters, which may be several tokens: they have no number of their own.
            "token": {"id": None, "text": piece["text"], "logprob": None, "special": False},
            "generated_text": "".join(each["text"] for each in said) if last else None,
            "details": {
                "finish_reason": piece["finish_reason"],
                "generated_tokens": piece["generated_tokens"],
                "input_length": piece["prompt_tokens"],
                "seed": self.plan.call.parameters.get("seed"),
            }
            if last
            else None,
        }
        return b"data:" + answers.dump(event) + b"\n\n"
