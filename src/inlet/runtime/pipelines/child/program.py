"""The program that a worker's child runs for a task: `load` opens the model, what it returns answers requests.

Called by `worker/child`, which knows nothing of tasks. A head is `{inputs, parameters}` or, back, `{value, types}` with the
blobs' content types; of a stream each piece is `{piece}`. A caller's mistake is `{refused: {field, message}}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inlet.runtime.pipelines.call import BadInput, Call, Result
from inlet.runtime.pipelines.child.opening import CannotOpen, Model, open_model

Reply = tuple[dict[str, Any], list[bytes]]
_OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory"  # in an error of torch of no kind of its own


def load(
    settings: Mapping[str, Any], report: Callable[[str], None]
) -> Callable[[Mapping[str, Any], list[bytes]], Reply | Iterator[Reply]]:
    """The function that answers, once the model has answered a call of its own (`settings["sample"]`)."""
    report("opening the model with transformers")
    model = open_model(
        Path(settings["folder"]), settings["task"], settings["threads"], settings["trust_remote_code"]
    )
    report("warming up")
    sample = settings["sample"]
    call = Call(sample["inputs"], sample["parameters"], [bytes.fromhex(blob) for blob in sample["blobs"]])
    try:
        with _memory_errors():
            model.answer(call)
    except MemoryError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise CannotOpen(
            f"the model cannot do {settings['task']}: a first request of ours failed ({reason})"
        ) from error
    return lambda head, blobs: _answer(model, head, blobs)


def _answer(model: Model, head: Mapping[str, Any], blobs: list[bytes]) -> Reply | Iterator[Reply]:
    try:
        with _memory_errors():
            result = model.answer(Call(head["inputs"], head["parameters"], blobs))
    except BadInput as error:
        return {"refused": {"field": error.field, "message": error.message}}, []
    if isinstance(result, Result):
        return (
            {"value": result.value, "types": [blob.content_type for blob in result.blobs]},
            [blob.content for blob in result.blobs],
        )
    return _pieces(result)


def _pieces(pieces: Iterator[dict[str, Any]]) -> Iterator[Reply]:
    with _memory_errors():
        for piece in pieces:
            yield {"piece": piece}, []


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Within it torch's want of memory is a `MemoryError`, like everybody else's."""
    try:
        yield
    except RuntimeError as error:
        if _OUT_OF_MEMORY not in str(error):
            raise
        raise MemoryError(str(error)) from error
