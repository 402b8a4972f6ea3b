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
# Fields by which llama.cpp is run rather than asked: another request's state, its own files.
_NOT_FOR_CALLERS = frozenset({"id_slot", "lora", "slot_id"})


def chat(template: Template, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request to `/v1/chat/completions`. Media must be in the request itself: no address is fetched for a caller.

    An answer is held to a schema by a grammar of ours, since the one that llama.cpp makes of it lets through what it then
    rejects; but where the model thinks first or may call tools, only llama.cpp knows where JSON begins.
    """
    request = _common(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Invalid(f"expected a list of messages, got {_what(messages)}", field="messages")
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
    request = _common(body)
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


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    for name in _NOT_FOR_CALLERS.intersection(body):
        raise Invalid("is not available here: leave it out", field=name)
    for name in ("stream", "logprobs") if "messages" in body else ("stream",):
        if not isinstance(body.get(name), bool | None):
            raise Invalid(f"expected true or false, got {kind(body[name])}", field=name)
    stop = body.get("stop")
    if not (stop is None or isinstance(stop, str) or _are_strings(stop)):
        raise Invalid("expected a string or a list of strings", field="stop")
    check_own(body.get("grammar"), "grammar")
    return dict(body)


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


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _what(value: Any) -> str:
    return "nothing" if value is None else kind(value)
