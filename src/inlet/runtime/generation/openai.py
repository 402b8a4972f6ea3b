"""The OpenAI routes: what of a request is changed before llama.cpp gets it, and errors in the nested form. Pure.

Called by `serving`. The field `model` is whatever a client put there: one model is served here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from inlet.core.errors import InletError, Invalid
from inlet.runtime import answers
from inlet.runtime.answers import Answer
from inlet.runtime.dialect import kind
from inlet.runtime.generation.bounds import check_ignored, check_sampling
from inlet.runtime.generation.constraint import check_own, grammar_of
from inlet.runtime.generation.header import Template
from inlet.runtime.generation.llamacpp import PromptTooLong

RESPONSE_FORMAT, JSON_SCHEMA = "response_format", "json_schema"  # fields that have a schema
_TYPES = {
    400: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
}
# Fields by which llama.cpp is run rather than asked: another request's state, its own files, what it tells itself of a chat's
# template. It trusts them: a trigger of an unknown type ends it.
_NOT_FOR_CALLERS = frozenset(
    {
        "chat_format", "chat_parser", "generation_prompt", "grammar_lazy", "grammar_triggers", "grammar_type", "id_slot", "lora",
        "parse_tool_calls", "preserved_tokens", "slot_id",
    }
)  # fmt: skip
# OpenAI's fields that llama.cpp ignores, with what asks for nothing. Hints (user, store, prediction, …) may be ignored.
_IGNORED_IN_CHATS: Mapping[str, Any] = {
    "audio": None, "function_call": "none", "functions": [], "modalities": ["text"], "web_search_options": None,
}  # fmt: skip
_IGNORED_IN_COMPLETIONS: Mapping[str, Any] = {"best_of": 1, "echo": False, "suffix": ""}


def chat(template: Template, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request to `/v1/chat/completions`. Media must be in the request itself: no address is fetched for a caller.

    An answer is held to a schema by a grammar of ours, since the one that llama.cpp makes of it lets through what it then
    rejects; but where the model thinks first or may call tools, only llama.cpp knows where JSON begins.
    """
    request = _common(body, _IGNORED_IN_CHATS)
    messages = request.get("messages")
    if not isinstance(messages, list):
        raise Invalid(f"expected a list of messages, got {_what(messages)}", field="messages")
    if not messages:
        raise Invalid("it is empty: send at least one message", field="messages")
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]")
    _check_tools(body.get("tools"))
    request.update(_choice_of_tools(body.get("tools"), body.get("tool_choice")))
    if request.get("tools") and request.get("tool_choice") != "none" and not template.tools:
        raise Invalid(
            "the template of this model's chats has no place for tools: leave them out", field="tools"
        )
    schema = _schema(request.pop("response_format", None))
    if schema is not None:
        grammar = grammar_of(schema, RESPONSE_FORMAT)
        if template.reasons or request.get("tools"):
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema},
            }
        else:
            request["grammar"] = grammar
    return request


def completion(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request to `/v1/completions`."""
    if body.get("prompt") is None:
        raise Invalid("missing; send a text", field="prompt")
    request = _common(body, _IGNORED_IN_COMPLETIONS)
    schema = request.pop(JSON_SCHEMA, None)
    return request if schema is None else {**request, "grammar": grammar_of(schema, JSON_SCHEMA)}


def refuse(error: InletError) -> Answer:
    """A refusal in OpenAI's form."""
    plain = answers.from_error(error)
    value = {
        "message": str(error),
        "type": _TYPES.get(error.status, "server_error"),
        "param": error.field,
        "code": "context_length_exceeded" if isinstance(error, PromptTooLong) else None,
    }
    return Answer(plain.status, orjson.dumps({"error": value}), headers=plain.headers)


def answers_each(request: Mapping[str, Any]) -> int:
    """How many answers there will be to each prompt; llama.cpp refuses what is no number, and cuts off fractions."""
    wanted = request.get("n_cmpl", request.get("n", 1))
    return int(wanted) if isinstance(wanted, int | float) else 1


def wants_usage(request: Mapping[str, Any]) -> bool:
    """Whether a stream is to end with the number of tokens."""
    options = request.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _common(body: Mapping[str, Any], ignored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something, checked as far as both kinds of request have them."""
    body = {name: value for name, value in body.items() if value is not None}
    for name in _NOT_FOR_CALLERS.intersection(body):
        raise Invalid("is not available here: leave it out", field=name)
    for name in ("stream", "logprobs") if "messages" in body else ("stream",):
        if not isinstance(body.get(name), bool | None):
            raise Invalid(f"expected true or false, got {kind(body[name])}", field=name)
    check_ignored(body, ignored)
    check_sampling(body)
    check_own(body.get("grammar"), "grammar")
    return body


def _check_message(message: Any, field: str) -> None:
    if not isinstance(message, Mapping):
        raise Invalid(f"expected an object, got {kind(message)}", field=field)
    if not isinstance(message.get("role"), str):
        raise Invalid(f"expected a string, got {_what(message.get('role'))}", field=f"{field}.role")
    content = message.get("content")
    if isinstance(content, str) or (content is None and message["role"] == "assistant"):
        return
    if not isinstance(content, list):
        raise Invalid(f"expected a string or a list of parts, got {_what(content)}", field=f"{field}.content")
    for index, part in enumerate(content):
        where = f"{field}.content[{index}]"
        if not isinstance(part, Mapping):
            raise Invalid(f"expected an object, got {kind(part)}", field=where)
        if part.get("type") != "text":
            raise Invalid("this model reads text only: send parts of the type text", field=f"{where}.type")
        if not isinstance(part.get("text"), str):
            raise Invalid(f"expected a string, got {_what(part.get('text'))}", field=f"{where}.text")


def _check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise Invalid(f"expected a list of tools, got {kind(tools)}", field="tools")
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or tool.get("type") != "function":
            raise Invalid('expected {"type": "function", "function": {…}}', field=f"tools[{index}]")
        if not isinstance(function.get("name"), str):
            raise Invalid(
                f"expected a string, got {_what(function.get('name'))}", field=f"tools[{index}].function.name"
            )


def _choice_of_tools(tools: Any, choice: Any) -> dict[str, Any]:
    """What is to be changed for it. Of a choice by name llama.cpp knows nothing: then there is one tool, and it is required."""
    if choice is None or (isinstance(choice, str) and choice in ("none", "auto")):
        return {}
    if not tools:
        raise Invalid("there are no tools to choose: send them, or leave it out", field="tool_choice")
    if choice == "required":
        return {}
    function = choice.get("function") if isinstance(choice, Mapping) else None
    if not isinstance(function, Mapping) or choice.get("type") != "function":
        raise Invalid(
            'expected none, auto, required or {"type": "function", "function": {"name": …}}',
            field="tool_choice",
        )
    named = [tool for tool in tools if tool["function"]["name"] == function.get("name")]
    if not named:
        raise Invalid(f"there is no tool {function.get('name')!r}", field="tool_choice.function.name")
    return {"tools": named, "tool_choice": "required"}


def _schema(wanted: Any) -> Any:
    """The JSON schema of a `response_format`, in OpenAI's form or in text-generation-inference's, which huggingface_hub sends."""
    if wanted is None:
        return None
    if not isinstance(wanted, Mapping):
        raise Invalid(f"expected an object, got {kind(wanted)}", field="response_format")
    which = wanted.get("type")
    if which not in ("text", "json_object", "json_schema", "json"):
        raise Invalid("expected one of text, json_object, json_schema", field="response_format.type")
    if which == "text":
        return None
    if which == "json_schema":
        inner = wanted.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, Mapping) else wanted.get("value")
        if schema is None:
            raise Invalid("missing; send the schema", field="response_format.json_schema.schema")
        return schema
    return wanted.get("value") or wanted.get("schema") or {"type": "object"}


def _what(value: Any) -> str:
    return "nothing" if value is None else kind(value)
