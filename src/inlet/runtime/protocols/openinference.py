"""The Open Inference Protocol (version 2 of KServe's), over whatever is served: tensors to a native request and back.

Called by way of `table`. What a request means is the native route's matter; here stands only how tensors spell it. There
is one model, so it answers to any name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson

from inlet import __version__
from inlet.core.errors import Invalid
from inlet.runtime import answers, body
from inlet.runtime.answers import Answer
from inlet.runtime.dialect import Dialect
from inlet.runtime.encoding import maybe_threaded
from inlet.runtime.protocols.fields import Fields, mapping
from inlet.runtime.protocols.routed import Routed
from inlet.runtime.protocols.tensors import BYTES, Tensor, of_numbers, of_strings, read_tensors
from inlet.runtime.serving import Asked
from inlet.runtime.tasks import TABULAR

_JSON_LENGTH = "inference-header-content-length"
_INLINE_BYTES = 20_000  # more than this take longer than handing them to a thread
_BINARY = "application/octet-stream"
# Parameters of the protocol itself and of its servers; the others are the task's.
_PROTOCOL = frozenset({"binary_data_output", "content_type", "headers", "sequence_id", "sequence_start", "sequence_end",
                       "priority", "timeout", "triton_enable_empty_final_response"})  # fmt: skip
# Parts of a task's `inputs` that a tensor has the name of; a list stays one.
_PARTS: Mapping[str, Mapping[str, bool]] = {
    "sentence-similarity": {"source_sentence": False, "sentences": True},
    "text-ranking": {"query": False, "texts": True},
    "question-answering": {"question": False, "context": False},
    "text-classification": {"text": False, "text_pair": False},
}
_VECTORS = frozenset({"feature-extraction", "sentence-embeddings", "sentence-similarity"})
_LABELS = "text-classification"
_PREDICT, _PROBABLE = "predict", "predict_proba"
"""Outputs of a table, as scikit-learn has its methods and MLServer its outputs. The second comes only where it is named."""
ToTensors = Callable[[Any], list[Tensor]]
"""Makes the tensors of a native answer's JSON."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How a request wants its answer. `named`: the outputs, and whether each as binary data; None for all, as `binary` says."""

    identity: str | None
    named: Mapping[str, bool] | None
    binary: bool


async def server(routed: Routed) -> Answer:  # noqa: ARG001 - a route like the others
    """Which server this is."""
    return answers.ok({"name": "inlet", "version": __version__, "extensions": ["binary_tensor_data"]})


async def ready(routed: Routed) -> Answer:
    """That the model is ready: it is, or nobody would come here."""
    return answers.ok({"name": routed.parts["name"], "ready": True})


async def metadata(routed: Routed) -> Answer:
    """Which tensors the model takes and gives."""
    task, described = routed.served.task, routed.served.describe(routed.options)
    return answers.ok(
        {
            "name": routed.parts["name"],
            "versions": [_version(routed)],
            "platform": f"inlet_{described.get('engine', 'python')}",
            "inputs": _inputs(task, described),
            "outputs": _outputs(task, described),
        }
    )


async def infer(routed: Routed) -> Answer:
    """The native answer to what the tensors say, as tensors."""
    small = len(routed.asked.content) <= _INLINE_BYTES
    questions, wanted = await maybe_threaded(lambda: _read(routed), inline=small)
    answered = [(await routed.served.answer(native), tensors) for native, tensors in questions]
    small = sum(len(_payload(answer)) for answer, _ in answered) <= _INLINE_BYTES
    shaped: Answer = await maybe_threaded(lambda: _shaped(routed, answered, wanted), inline=small)
    return shaped


def _read(routed: Routed) -> tuple[list[tuple[Asked, ToTensors]], _Wanted]:
    """The native requests that the tensors are, with what makes tensors of their answers, and which of these are wanted."""
    request, binary = _split(routed.asked)
    inputs = _native_inputs(routed.served.task, read_tensors(request.get("inputs"), binary))
    given = mapping(request.get("parameters"), "parameters")
    all_binary = Fields(given, _PROTOCOL, prefix="parameters").boolean("binary_data_output", False)
    identity = Fields(request, {"id"}).string("id", None)
    wanted = _Wanted(identity, _named(request.get("outputs"), all_binary), all_binary)
    parameters = {key: value for key, value in given.items() if key not in _PROTOCOL}

    def native(**more: Any) -> Asked:
        return replace(
            routed.asked,
            path="/",
            content=orjson.dumps({"inputs": inputs, "parameters": {**parameters, **more}}),
            headers={"content-type": "application/json"},
            query_string="",
            default=Dialect.API,
        )

    names = set(wanted.named or ())
    plain = native(), partial(_tensors, routed.served.task)
    if _PROBABLE not in names or not routed.served.describe(routed.options).get("probabilities"):
        return [plain], wanted
    probable = native(probabilities=True), _probabilities
    return [probable] if names == {_PROBABLE} else [plain, probable], wanted


def _shaped(routed: Routed, answered: Sequence[tuple[Answer, ToTensors]], wanted: _Wanted) -> Answer:
    tensors = [
        tensor for answer, to_tensors in answered for tensor in to_tensors(orjson.loads(_payload(answer)))
    ]
    said = {"model_name": routed.parts["name"], "model_version": _version(routed)}
    if wanted.identity is not None:
        said["id"] = wanted.identity
    return _written(said, _chosen(tensors, wanted), answered[0][0])


def _version(routed: Routed) -> str:
    return routed.parts.get("version") or routed.options.commit or "1"


def _split(asked: Asked) -> tuple[Mapping[str, Any], bytes]:
    """The JSON of a request, and the binary data behind it."""
    length = asked.headers.get(_JSON_LENGTH)
    if length is None:
        return body.parse(asked.content, asked.headers), b""
    if not (length.isascii() and length.isdigit() and len(length) < 12 and int(length) <= len(asked.content)):
        raise Invalid(
            "expected the number of bytes of the JSON at the body's beginning",
            field="Inference-Header-Content-Length",
        )
    json = body.parse(asked.content[: int(length)], {"content-type": "application/json"})
    return json, asked.content[int(length) :]


def _native_inputs(task: str, tensors: Sequence[Tensor]) -> Any:
    if task in TABULAR:
        return _table(tensors)
    parts = _PARTS.get(task, {})
    if len(tensors) == 1:
        return _values(tensors[0])
    lists = {tensor.name: _flat(tensor) for tensor in tensors}
    if any(parts.get(name) for name in lists):
        return {name: values if parts.get(name) else _only(name, values) for name, values in lists.items()}
    rows = {len(values) for values in lists.values()}
    if len(rows) > 1:
        raise Invalid(f"the tensors {', '.join(lists)} must have as many values each", field="inputs")
    items = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return items[0] if len(items) == 1 else items


def _table(tensors: Sequence[Tensor]) -> Any:
    """One tensor for all rows, or one for each column."""
    first = tensors[0].values
    if len(tensors) == 1 and first.ndim > 1:
        return first.reshape(len(first), -1).tolist() if first.size else []
    return {"data": {tensor.name: _flat(tensor) for tensor in tensors}}


def _values(tensor: Tensor) -> Any:
    """Nested as it is; texts are one list."""
    return _flat(tensor) if tensor.datatype == BYTES else tensor.values.tolist()


def _flat(tensor: Tensor) -> list[Any]:
    values: list[Any] = tensor.values.ravel().tolist()
    return values


def _only(name: str, values: list[Any]) -> Any:
    if len(values) != 1:
        raise Invalid(f"expected one value, got {len(values)}", field=f"inputs.{name}")
    return values[0]


def _payload(answer: Answer) -> bytes:
    """The JSON of a native answer."""
    if isinstance(answer.body, bytes) and answer.content_type == "application/json":
        return answer.body
    raise Invalid(
        f"this model answers with {answer.content_type}, which no tensor holds; ask it at the endpoint's own URL"
    )


def _tensors(task: str, value: Any) -> list[Tensor]:
    if task in _VECTORS:
        try:
            return [of_numbers("output", value, "FP32")]
        except ValueError as error:
            raise Invalid(
                "the texts have different numbers of tokens, so their vectors do not fit one tensor; send them one by one",
                field="inputs",
            ) from error
    if task == _LABELS or (task in TABULAR and _has_labels(value)):
        return [
            of_strings("label", [[str(item["label"]) for item in row] for row in value]),
            of_numbers("score", [[item["score"] for item in row] for row in value], "FP32"),
        ]
    if task in TABULAR:
        return [of_numbers(_PREDICT, value)]
    items = value if isinstance(value, list) else [value]
    return [of_strings("output", [orjson.dumps(item).decode() for item in items])]


def _probabilities(value: list[list[Mapping[str, Any]]]) -> list[Tensor]:
    return [of_numbers(_PROBABLE, [[item["score"] for item in row] for row in value], "FP64")]


def _has_labels(value: Any) -> bool:
    return isinstance(value[0], list) and isinstance(value[0][0], dict)


def _named(given: Any, all_binary: bool) -> Mapping[str, bool] | None:
    """The outputs that were asked for, and whether each as binary data; None for all."""
    if given is None:
        return None
    if not isinstance(given, list):
        raise Invalid("expected a list of objects with a name", field="outputs")
    found = {}
    for index, item in enumerate(given):
        field = f"outputs[{index}]"
        entry = mapping(item, field)
        name = Fields(entry, {"name"}, prefix=field).string("name", "")
        parameters = Fields(
            mapping(entry.get("parameters"), f"{field}.parameters"),
            {"binary_data"},
            prefix=f"{field}.parameters",
        )
        found[name] = parameters.boolean("binary_data", all_binary)
    return found


def _chosen(tensors: Sequence[Tensor], wanted: _Wanted) -> list[tuple[Tensor, bool]]:
    if wanted.named is None:
        return [(tensor, wanted.binary) for tensor in tensors]
    by_name = {tensor.name: tensor for tensor in tensors}
    for name in wanted.named:
        if name not in by_name:
            raise Invalid(
                f"there is no output {name!r}; this model has {', '.join(by_name)}", field="outputs"
            )
    return [(by_name[name], binary) for name, binary in wanted.named.items()]


def _written(said: dict[str, Any], chosen: Sequence[tuple[Tensor, bool]], answer: Answer) -> Answer:
    outputs, blobs = [], []
    for tensor, binary in chosen:
        if binary:
            blobs.append(tensor.packed())
            outputs.append({**tensor.described(), "parameters": {"binary_data_size": len(blobs[-1])}})
        else:
            outputs.append({**tensor.described(), "data": tensor.listed()})
    head = answers.dump({**said, "outputs": outputs})
    if not blobs:
        return replace(answer, body=head)
    headers = {**answer.headers, _JSON_LENGTH: str(len(head))}
    return replace(answer, body=b"".join((head, *blobs)), content_type=_BINARY, headers=headers)


def _inputs(task: str, described: Mapping[str, Any]) -> list[dict[str, Any]]:
    if task in TABULAR:
        return [_tensor("inputs", "FP64", -1, described.get("column_count") or -1)]
    parts = _PARTS.get(task, {})
    if task == _LABELS or not parts:
        return [_tensor("inputs", BYTES, -1)]
    several = any(parts.values())
    return [_tensor(name, BYTES, -1 if many or not several else 1) for name, many in parts.items()]


def _outputs(task: str, described: Mapping[str, Any]) -> list[dict[str, Any]]:
    if task == _LABELS:
        return [_tensor("label", BYTES, -1, -1), _tensor("score", "FP32", -1, -1)]
    if task in _VECTORS:
        return [_tensor("output", "FP32", *([-1] if task == "sentence-similarity" else [-1, -1]))]
    if task in TABULAR:
        predicted = _tensor(_PREDICT, "FP64" if task == "tabular-regression" else BYTES, -1)
        if not described.get("probabilities"):
            return [predicted]
        return [predicted, _tensor(_PROBABLE, "FP64", -1, len(described["labels"]))]
    return [_tensor("output", BYTES, -1)]


def _tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}
