"""Opens a model for a task, and answers its calls. The one entrance to this package; called by the worker's process."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from inlet.core.trust import REMOTE_CODE
from inlet.runtime.pipelines.call import FLOATS, BadInput, Blob, Call, Result, reference, resolved

_PACKAGE = "inlet.runtime.pipelines.child"
# Each in the module that makes its answerer, so that a worker imports only what its task needs.
_MAKERS: Mapping[str, tuple[str, str]] = {
    "summarization": ("sequences", "sequence_to_sequence"),
    "translation": ("sequences", "sequence_to_sequence"),
    "text2text-generation": ("sequences", "sequence_to_sequence"),
    "text-generation": ("causal", "Causal"),
    "table-question-answering": ("texts", "table_question_answering"),
    "question-answering": ("texts", "question_answering"),
    "text-classification": ("texts", "text_classification"),
    "token-classification": ("texts", "token_classification"),
    "fill-mask": ("texts", "fill_mask"),
    "zero-shot-classification": ("texts", "zero_shot_classification"),
    "feature-extraction": ("texts", "feature_extraction"),
    "image-classification": ("images", "by_pipeline"),
    "zero-shot-image-classification": ("images", "by_pipeline"),
    "object-detection": ("images", "by_pipeline"),
    "image-segmentation": ("images", "image_segmentation"),
    "depth-estimation": ("images", "depth_estimation"),
    "image-to-text": ("images", "image_to_text"),
    "image-text-to-text": ("images", "image_text_to_text"),
    "visual-question-answering": ("images", "visual_question_answering"),
    "document-question-answering": ("images", "document_question_answering"),
    "automatic-speech-recognition": ("sound", "speech_recognition"),
    "audio-classification": ("sound", "audio_classification"),
    "text-to-speech": ("sound", "text_to_speech"),
    "text-to-audio": ("sound", "text_to_speech"),
    "text-to-image": ("pictures", "text_to_image"),
}


class CannotOpen(Exception):
    """The model cannot be opened, and no restart helps; the message says what a person must do."""

    final = True


class Model:
    """An opened model. Not for several threads at once."""

    def __init__(self, answerer: Any) -> None:
        self._answerer = answerer

    def answer(self, call: Call) -> Result | Iterator[dict[str, Any]]:
        """What is asked, or an iterator where `parameters.stream` asks for pieces of text.

        `BadInput` says what is wrong with the call; any other exception is the model's failure. The last piece also says
        how the text ended and how many tokens it has. Closing the iterator ends the generation.
        """
        items = resolved(call.inputs, lambda index, _: call.blobs[index])
        parameters = dict(call.parameters)
        if parameters.pop("stream", False):
            pieces: Iterator[dict[str, Any]] = self._answerer.stream(items[0], parameters)
            return pieces
        blobs: list[Blob] = []
        value = [_plain(row, blobs) for row in self._answerer(items, parameters)]
        return Result(value, blobs)


def open_model(folder: Path, task: str, threads: int, trust_remote_code: bool) -> Model:
    """The model in a folder, for a task by its canonical name, on so many threads. `CannotOpen` says why not."""
    if task not in _MAKERS:
        raise CannotOpen(f"task: {task!r} is not known; known: {', '.join(_MAKERS)}")
    module, name = _MAKERS[task]
    try:
        import torch
        import transformers

        from inlet.runtime.pipelines.child.source import Source, complete

        torch.set_num_threads(threads)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        make = getattr(import_module(f"{_PACKAGE}.{module}"), name)
        with complete():
            return Model(make(Source(folder, task, trust_remote_code)))
    except MemoryError:
        raise
    except ImportError as error:
        raise CannotOpen(_lacking(error)) from error
    except Exception as error:  # each kind of model has its own ways to fail
        if not trust_remote_code and "trust_remote_code" in str(error):
            raise CannotOpen(
                "the model is defined by Python files of its repository, which transformers would have to run: if you trust whoever "
                f"made them, set {REMOTE_CODE}=1 in the endpoint's env"
            ) from error
        raise CannotOpen(
            f"transformers cannot open the model for {task}: {_reason(error, folder)}"
        ) from error


def _lacking(error: ImportError) -> str:
    if error.name == "diffusers":
        return "text-to-image needs diffusers: install inlet-endpoints[diffusers] on the server"
    if error.name in ("torch", "transformers"):
        return f"this task needs {error.name}: install inlet-endpoints[torch] on the server"
    reason = str(error).strip().split("\n", 1)[0]
    return f"the model needs a Python package that is not installed on the server: {reason}"


def _reason(error: Exception, folder: Path) -> str:
    """What transformers says, without its guesses at a repository of the Hub that might have been meant."""
    said = str(error).replace(f"'{folder}'", "the model").strip().split("\n", 1)[0]
    return said.split(". If you were trying to load it from", 1)[0] or type(error).__name__


def _plain(value: Any, blobs: list[Blob]) -> Any:
    """As JSON has it: numbers of numpy and torch as Python's, NaN and infinities as null, bytes and arrays as blobs."""
    if isinstance(value, Blob):
        blobs.append(value)
        return reference(len(blobs) - 1)
    if isinstance(value, Mapping):
        return {str(name): _plain(item, blobs) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, blobs) for item in value]
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if getattr(value, "ndim", 0) == 0:
        return _plain(value.item(), blobs)
    blobs.append(Blob(value.astype("<f4").tobytes(), FLOATS))
    return reference(len(blobs) - 1, value.shape)


__all__ = ["BadInput", "CannotOpen", "Model", "open_model"]
