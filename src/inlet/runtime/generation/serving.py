"""Text generation as a `Serving`: the native route, those of text-generation-inference, and OpenAI's.

Made by `opening`, asked by `app`. Tokenizing, batching and sampling are llama.cpp's; forms of requests and answers are ours
(`parameters`, `tgi`) or its own (`openai`, `assembly`). A request takes a turn while it generates, and only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from inlet.core.errors import Invalid
from inlet.runtime import answers, body, info
from inlet.runtime.answers import Answer
from inlet.runtime.dialect import Dialect, kind, normalise
from inlet.runtime.foreign.behind import Behind
from inlet.runtime.foreign.upstream import Reply, Upstream
from inlet.runtime.generation import llamacpp, openai, tgi
from inlet.runtime.generation.assembly import assembled
from inlet.runtime.generation.bounds import check_nesting
from inlet.runtime.generation.constraint import Constraints
from inlet.runtime.generation.header import Template
from inlet.runtime.generation.parameters import KNOWN, Wanted, read
from inlet.runtime.generation.settings import Mode
from inlet.runtime.generation.usage import Usage, totalled
from inlet.runtime.options import Options
from inlet.runtime.serving import Asked, Route

_EVENTS = "text/event-stream"
_JSON = (("content-type", "application/json"),)
_MOST_PROMPTS = 32  # of one request
_HINTS = {
    Mode.EMBEDDINGS: "this model embeds; ask it at /v1/embeddings",
    Mode.RERANKING: "this model ranks; ask it at /v1/rerank",
}


class Generation(Behind):
    """`context`: tokens of prompt and answer together; `at_once`: requests that are computed together."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        task: str,
        model: str,
        architecture: str,
        template: Template,
        context: int,
        at_once: int,
        mode: Mode,
    ) -> None:
        super().__init__(upstream)
        self._task, self._context, self._mode = task, context, mode
        self._description = {
            "architecture": architecture,
            "served_model_name": model,
            "engine": "llama.cpp",
            "variant": "llama.cpp",
            "reason": f"{at_once} requests together, each with a context of {context} tokens",
            "settled": True,
            "mode": mode,
            "max_total_tokens": context,
            "parallel": at_once,
        }
        self._template, self._constraints = template, Constraints()
        self._routes = {
            "/v1/models": {"GET": Route(self._models, openai.refuse)},
            **self._routes_of(mode),
        }

    @property
    def task(self) -> str:
        return self._task

    def routes(self, path: str, options: Options) -> Mapping[str, Route]:  # noqa: ARG002 - the routes do not depend on them
        return self._routes.get(path, {})

    def describe(self, options: Options) -> Mapping[str, Any]:
        return {**info.of_any(options, self.task), **self._description}

    async def answer(self, asked: Asked) -> Answer:
        """Generated texts in a list, as the stock container has them; events when `stream` is true."""
        if hint := _HINTS.get(self._mode):
            raise Invalid(hint)
        inputs, wanted, streamed = self._read(asked, full_text=asked.dialect is Dialect.TOOLKIT)
        if isinstance(inputs, list) and not _is_chat(inputs):
            if streamed:
                raise Invalid("one text is streamed per request: send a string", field="inputs")
            if not 0 < len(inputs) <= _MOST_PROMPTS:
                raise Invalid(f"expected 1 to {_MOST_PROMPTS} texts, got {len(inputs)}", field="inputs")
            return answers.ok([[text] for text in await self._all_generated(asked, inputs, wanted)])
        if streamed:
            return await self._streamed(asked, inputs, wanted)
        return answers.ok([await self._generated(asked, inputs, wanted)])

    async def _generate(self, asked: Asked, *, streams: bool = False) -> Answer:
        """`/generate` and `/generate_stream`."""
        inputs, wanted, _ = self._read(asked, full_text=False)
        if not isinstance(inputs, str):
            raise Invalid(f"expected a string, got {kind(inputs)}", field="inputs")
        if streams:
            return await self._streamed(asked, inputs, wanted)
        return answers.ok(await self._generated(asked, inputs, wanted))

    def _read(self, asked: Asked, *, full_text: bool) -> tuple[Any, Wanted, bool]:
        """Inputs, parameters, and whether the answer is to be streamed."""
        sent = _parsed(asked)
        streamed = sent.get("stream")
        if not isinstance(streamed, bool | None):
            raise Invalid(f"expected true or false, got {kind(streamed)}", field="stream")
        request = normalise(sent, known=KNOWN, inputs_at_root=(), query=asked.query, dialect=asked.dialect)
        return (
            request.inputs,
            read(request.parameters, context=self._context, full_text=full_text),
            bool(streamed),
        )

    async def _all_generated(self, asked: Asked, inputs: list[Any], wanted: Wanted) -> list[dict[str, Any]]:
        """The answers to several prompts, computed together as far as there is room."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._generated(asked, each, wanted)) for each in inputs]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _generated(self, asked: Asked, inputs: Any, wanted: Wanted) -> dict[str, Any]:
        result = await llamacpp.whole(await self._completion(asked, inputs, wanted))
        if not wanted.full_text:
            return tgi.generated(result, wanted)
        if isinstance(inputs, str):
            return tgi.generated(result, wanted, before=inputs)
        answer = tgi.generated(result, wanted)
        return {**answer, "generated_text": [*inputs, {"role": "assistant", "content": result["content"]}]}

    async def _streamed(self, asked: Asked, inputs: Any, wanted: Wanted) -> Answer:
        reply = await self._completion(asked, inputs, wanted)
        before = inputs if wanted.full_text and isinstance(inputs, str) else ""
        return Answer(200, tgi.events(llamacpp.results(reply), wanted, before), _EVENTS)

    async def _completion(self, asked: Asked, inputs: Any, wanted: Wanted) -> Reply:
        """A stream, also for whoever wants the whole: llama.cpp notices late, if others are busy, who leaves without one."""
        prompt: Any = inputs
        if _is_chat(inputs):
            messages = openai.chat(self._template, {"messages": inputs})
            prompt = (await self._looked_up(asked, "/apply-template", messages))["prompt"]
        elif not isinstance(inputs, str):
            raise Invalid(f"expected a string or a list of messages, got {kind(inputs)}", field="inputs")
        if wanted.truncate is not None:
            found = await self._looked_up(asked, "/tokenize", {"content": prompt, "add_special": True})
            prompt = found["tokens"][-wanted.truncate :]
        await self._check_grammar(asked, wanted.sampling, "parameters.grammar")
        request = {**wanted.sampling, "prompt": prompt, "stream": True}
        reply = await self._post(asked, "/completion", request)
        await llamacpp.check(reply)
        return reply

    async def _check_grammar(self, asked: Asked, request: Mapping[str, Any], field: str) -> None:
        """`Invalid`, with the field, if the answer could not be held to the request's grammar."""

        async def complete(value: Mapping[str, Any]) -> Any:
            return await llamacpp.result(await self._post(asked, "/completion", value))

        if (grammar := request.get("grammar")) is not None:
            await self._constraints.check(grammar, complete, field)

    async def _looked_up(self, asked: Asked, path: str, value: Any) -> Any:
        """What llama.cpp says to something that needs no turn."""
        return await llamacpp.result(await self._post(asked, path, value, in_turn=False))

    async def _post(self, asked: Asked, path: str, value: Any, *, in_turn: bool = True) -> Reply:
        return await self._upstream.ask(
            asked, "POST", path, content=orjson.dumps(value), headers=_JSON, in_turn=in_turn
        )

    def _routes_of(self, mode: Mode) -> dict[str, dict[str, Route]]:
        if mode is Mode.EMBEDDINGS:
            return dict.fromkeys(("/v1/embeddings", "/embeddings"), self._passed("/v1/embeddings"))
        if mode is Mode.RERANKING:
            return dict.fromkeys(("/v1/rerank", "/rerank"), self._passed("/v1/rerank"))
        return {
            "/generate": {"POST": Route(self._generate, tgi.refuse)},
            "/generate_stream": {"POST": Route(partial(self._generate, streams=True), tgi.refuse)},
            "/v1/chat/completions": self._written(
                "/v1/chat/completions", partial(openai.chat, self._template), openai.RESPONSE_FORMAT
            ),
            "/v1/completions": self._written("/v1/completions", openai.completion, openai.JSON_SCHEMA),
        }

    def _passed(self, target: str) -> dict[str, Route]:
        """POST to a route of llama.cpp's own."""

        async def respond(asked: Asked) -> Answer:
            return await _passed_on(await self._post(asked, target, _parsed(asked)))

        return {"POST": Route(respond, openai.refuse)}

    def _written(
        self, target: str, change: Callable[[Mapping[str, Any]], dict[str, Any]], schema: str
    ) -> dict[str, Route]:
        """The same for what generates: the request is changed first, and its answer always streamed here, as in `_completion`.

        `schema`: the field that a grammar was made of.
        """

        async def respond(asked: Asked) -> Answer:
            request = change(_parsed(asked))
            await self._check_grammar(asked, request, schema)
            each = openai.answers_each(request)
            counted = {**request, "stream": True, "stream_options": {"include_usage": True}}
            if not request.get("stream"):
                reply = await self._post(asked, target, counted)
                await llamacpp.check(reply)
                return answers.ok(await assembled(llamacpp.results(reply), Usage(each)))
            if each == 1 and not isinstance(request.get("prompt"), list):
                return await _passed_on(await self._post(asked, target, request))
            reply = await self._post(asked, target, counted)
            await llamacpp.check(reply)
            pieces = totalled(reply.pieces, Usage(each), wanted=openai.wants_usage(request))
            return Answer(200, pieces, _EVENTS)

        return {"POST": Route(respond, openai.refuse)}

    async def _models(self, asked: Asked) -> Answer:
        return await _passed_on(await self._upstream.ask(asked, "GET", "/v1/models", in_turn=False))


def _parsed(asked: Asked) -> Mapping[str, Any]:
    sent = body.parse(asked.content, asked.headers)
    check_nesting(sent)
    return sent


async def _passed_on(reply: Reply) -> Answer:
    await llamacpp.check(reply)
    return Answer(200, reply.pieces, reply.headers["content-type"])


def _is_chat(inputs: Any) -> bool:
    return isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], Mapping)
