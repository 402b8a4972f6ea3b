"""The replica's side of tasks that a worker computes: from a request to a `Call`, and from a `Result` to an answer.

`plan` is called on the event loop, once per request (it decodes base64, so bodies with media are better planned in a
thread); so is `Plan.shape`. Nothing here imports torch, opens a URL or a path, or raises anything but an `InletError` on what
a caller sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inlet.core.errors import Invalid, Refused, TooLarge
from inlet.runtime import body
from inlet.runtime.dialect import Dialect, Request, normalise, shapes_of
from inlet.runtime.pipelines.call import FLOATS, Call, Result, resolved
from inlet.runtime.pipelines.tasks.accept import names, preferred
from inlet.runtime.pipelines.tasks.fields import Values, read
from inlet.runtime.pipelines.tasks.generation import NAMES, read_generation
from inlet.runtime.pipelines.tasks.items import is_conversation
from inlet.runtime.pipelines.tasks.media import Blobs
from inlet.runtime.pipelines.tasks.shapes import Ask
from inlet.runtime.pipelines.tasks.table import JSON, TASKS, TaskKind, canonical
from inlet.runtime.serving import Asked

__all__ = ["TASKS", "Plan", "canonical", "plan", "plan_request", "sample", "task_kind"]


@dataclass(frozen=True, slots=True)
class Plan:
    """One request: what a worker must compute, and what becomes of it."""

    call: Call
    kind: TaskKind
    ask: Ask

    @property
    def streamed(self) -> bool:
        """Whether the caller wants the text piece by piece."""
        return bool(self.call.parameters.get("stream"))

    def shape(self, result: Result) -> Any:
        """The answer: a JSON value, numpy arrays included, or a `Blob` that is the whole body."""

        def get(index: int, shape: list[int] | None) -> Any:
            blob = result.blobs[index]
            if blob.content_type != FLOATS:
                return blob
            return np.frombuffer(blob.content, dtype="<f4").reshape(shape or (-1,))

        return self.kind.shape(resolved(result.value, get), self.ask)

    def refusal(self, field: str, message: str) -> Invalid:
        """What the worker found wrong with the request, with the field as the caller knows it."""
        if self.ask.single and field.startswith("inputs[0]"):
            field = "inputs" + field.removeprefix("inputs[0]")
        return Invalid(message, field=field)


def task_kind(task: str) -> TaskKind:
    """What the table says of a task; `Refused` lists those that there are."""
    found = TASKS.get(canonical(task))
    if found is None:
        raise Refused(f"the task {task!r} is not known; known: {', '.join(TASKS)}", field="task")
    return found


def plan(task: str, asked: Asked) -> Plan:
    """The plan of a request as it came: JSON, or the bytes of an image or a recording."""
    task_kind_ = task_kind(task)
    content = _body(task_kind_, asked)
    request = _request(task_kind_, content, asked)
    return plan_request(task, request, accept=asked.headers.get("accept", ""))


def plan_request(task: str, request: Request, *, accept: str = "") -> Plan:
    """The plan of a request in one spelling."""
    found = task_kind(task)
    request = _with_moved_parameters(found, request)
    parameters = _parameters(found, request)
    if found.media:
        parameters["content_type"] = _content_type(found, accept, request.dialect)
    blobs = Blobs()
    items, single = _items(found, request.inputs, blobs)
    if parameters.get("content_type", JSON) != JSON and not single:
        if not accept or preferred(accept, (JSON, *found.media)) != JSON:
            raise Invalid("several items can only be answered as application/json", field="Accept")
        parameters["content_type"] = JSON
    if parameters.get("stream") and not (single and parameters.get("num_return_sequences", 1) == 1):
        raise Invalid("only the answer to a single prompt can be streamed", field="stream")
    return Plan(Call(items, parameters, blobs.contents), found, Ask(request, items, parameters, single))


def sample(task: str) -> Call:
    """A call for the warm-up."""
    found = task_kind(task)
    request = Request(found.sample["inputs"], found.sample.get("parameters", {}), Dialect.TOOLKIT)
    return plan_request(task, request).call


def _body(found: TaskKind, asked: Asked) -> Mapping[str, Any]:
    """The JSON object of the body, or one around the body's own bytes."""
    content_type = asked.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if found.raw:
        unsaid = content_type in ("", "application/octet-stream", "application/x-www-form-urlencoded")
        if content_type.startswith(("image/", "audio/", "video/")) or (
            unsaid and asked.content.lstrip()[:1] != b"{"
        ):
            return {"inputs": asked.content}
    return body.parse(asked.content, asked.headers)


def _request(found: TaskKind, content: Mapping[str, Any], asked: Asked) -> Request:
    known = _known(found)
    query = asked.query
    if found.parts_of_item and not isinstance(content.get("inputs"), Mapping | list | None):
        # Clients put the image into `inputs` and the rest beside it, or into the query of a body that is the image.
        main, *others = found.parts_of_item
        beside = {name: content[name] for name in others if name in content}
        beside |= {name: query.pop(name) for name in others if name in query}
        content = {**content, "inputs": {main: content["inputs"], **beside}}
    return normalise(
        content,
        known=known,
        inputs_at_root=found.at_root,
        query=query,
        dialect=asked.dialect,
        shapes=shapes_of(asked.headers.get("user-agent", "")),
    )


def _known(found: TaskKind) -> frozenset[str]:
    return frozenset({*found.parameters, *found.also, *(NAMES if found.generates else ())})


def _with_moved_parameters(found: TaskKind, request: Request) -> Request:
    """Parameters that clients put into `inputs`, parts of an item among the parameters, and second names of some, where they belong."""
    inputs, parameters = request.inputs, dict(request.parameters)
    if isinstance(inputs, Mapping):
        moved = {name: inputs[name] for name in found.parameters_in_inputs if name in inputs}
        inputs = {name: value for name, value in inputs.items() if name not in moved}
        parts = {name: parameters.pop(name) for name in found.parts_in_parameters if name in parameters}
        inputs = {**parts, **inputs}
        parameters = {**moved, **parameters}
    for other, name in found.also.items():
        if other in parameters:
            parameters.setdefault(name, parameters.pop(other))
            parameters.pop(other, None)
    return replace(request, inputs=inputs, parameters=parameters)


def _parameters(found: TaskKind, request: Request) -> dict[str, Any]:
    values = Values(request.parameters, _known(found))
    own = found.parameters
    parameters = read_generation(values, own) if found.generates else read(values, own)
    for name in found.required:
        if name not in parameters:
            raise values.invalid(name, "missing; this task needs it")
    return parameters


def _content_type(found: TaskKind, accept: str, dialect: Dialect) -> str:
    media_first = found.api_prefers_media and dialect is Dialect.API and not names(accept, JSON)
    return preferred(accept, (*found.media, JSON) if media_first else (JSON, *found.media))


def _items(found: TaskKind, inputs: Any, blobs: Blobs) -> tuple[list[Any], bool]:
    """The items in their canonical form, and whether it was a single one."""
    listed, fields = _listed(found, inputs)
    if listed is None:
        return [found.item(inputs, "inputs", blobs)], True
    if not listed:
        raise Invalid("it is empty", field="inputs")
    if len(listed) > found.most:
        raise TooLarge(
            f"{len(listed)} items, more than {found.most}; send them in several requests", field="inputs"
        )
    return [found.item(item, field, blobs) for item, field in zip(listed, fields, strict=True)], False


def _listed(found: TaskKind, inputs: Any) -> tuple[list[Any] | None, list[str]]:
    """The single items of a list, or of an object with lists in it, and the field of each; None if it is one item."""
    if isinstance(inputs, list) and not (found.conversations and is_conversation(inputs)):
        return inputs, [f"inputs[{index}]" for index in range(len(inputs))]
    parts = {
        name: inputs[name]
        for name in found.lists
        if isinstance(inputs, Mapping) and isinstance(inputs.get(name), list)
    }
    if not parts:
        return None, []
    lengths = {name: len(part) for name, part in parts.items()}
    if len(set(lengths.values())) > 1:
        raise Invalid(f"lists of equal length are needed, got {lengths}", field="inputs")
    length = next(iter(lengths.values()))
    if length > found.most:
        raise TooLarge(
            f"{length} items, more than {found.most}; send them in several requests", field="inputs"
        )
    items = [{**inputs, **{name: part[index] for name, part in parts.items()}} for index in range(length)]
    return items, ["inputs"] * length
