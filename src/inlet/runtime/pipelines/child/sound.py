"""Tasks on sound: speech to text, sound to labels, text to speech."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from inlet.runtime.pipelines.call import BadInput
from inlet.runtime.pipelines.child.generating import passed_on
from inlet.runtime.pipelines.child.media import read_audio, write_wav
from inlet.runtime.pipelines.child.source import Answerer, Source

_JSON = "application/json"
_CHUNK = 30.0  # seconds of sound that a model without a window of its own reads at once
_TOO_SHORT = "Kernel size can't be greater than actual input size"  # of a chunk, for the model's first layers


def speech_recognition(source: Source) -> Answerer:
    """`{text, chunks?}`. Whisper reads sound of any length in its own way; others in chunks that overlap."""
    pipe = source.pipeline()
    rate = pipe.feature_extractor.sampling_rate

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        wanted = ("text", "chunks") if parameters.get("return_timestamps") else ("text",)
        found = []
        for index, item in enumerate(items):
            recording = read_audio(item, rate, f"inputs[{index}]")
            asked = _recognition(pipe, len(recording) > _CHUNK * rate, parameters)
            try:
                row = pipe({"raw": recording, "sampling_rate": rate}, **asked)
            except ValueError as error:  # a language that the model has not, more tokens than it can make, …
                if not asked:
                    raise
                raise BadInput(f"the model does not take them: {error}", "parameters") from error
            except RuntimeError as error:
                if "chunk_length_s" not in asked or _TOO_SHORT not in str(error):
                    raise
                raise BadInput(
                    "cut like this, a chunk is too short for this model", "parameters.chunk_length_s"
                ) from error
            found.append({name: row[name] for name in wanted if name in row})
        return found

    return answer


def _recognition(pipe: Any, long: bool, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What the pipeline is asked for, by what kind of model it has."""
    whisper = pipe.model.config.model_type == "whisper"
    stamps = parameters.get("return_timestamps") or None
    chunks = {name: parameters[name] for name in ("chunk_length_s", "stride_length_s") if name in parameters}
    own = {"return_timestamps", *chunks}
    generation = {name: value for name, value in passed_on(parameters).items() if name not in own}
    if not whisper and stamps not in (None, "word", "char"):
        raise BadInput('this model needs "word" or "char"', "parameters.return_timestamps")
    if whisper and stamps == "char":
        raise BadInput('this model needs true or "word"', "parameters.return_timestamps")
    if generation and not pipe.model.can_generate():
        raise BadInput(
            "this model does not generate text, so it has no such parameter", f"parameters.{min(generation)}"
        )
    if whisper and long and stamps is None:
        stamps = True  # without them the model cannot go on after its window
    if not whisper and long:
        chunks = {"chunk_length_s": _CHUNK, **chunks}
    return {**generation, **chunks, **({} if stamps is None else {"return_timestamps": stamps})}


def audio_classification(source: Source) -> Answerer:
    """`[{score, label}]`, best first."""
    pipe = source.pipeline()
    rate = pipe.feature_extractor.sampling_rate

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        return [
            pipe(read_audio(item, rate, f"inputs[{index}]"), **{"top_k": 5, **parameters})
            for index, item in enumerate(items)
        ]

    return answer


def text_to_speech(source: Source) -> Answerer:
    """A WAV file, or `{audio: [channels, samples], sampling_rate}` where JSON is asked for."""
    pipe = source.pipeline("text-to-audio")

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        asked = passed_on(parameters)
        if asked and not pipe.model.can_generate():
            raise BadInput("this model has no parameters of generation", f"parameters.{min(asked)}")
        if "seed" in parameters:
            torch.manual_seed(parameters["seed"])
        found: list[Any] = []
        for index, item in enumerate(items):
            if not pipe.tokenizer(item)["input_ids"]:
                raise BadInput("nothing of it is left as tokens", f"inputs[{index}]")
            made = pipe(item, generate_kwargs=asked)
            if parameters["content_type"] == _JSON:
                samples = np.atleast_2d(np.asarray(made["audio"], dtype=np.float32))
                found.append({"audio": samples, "sampling_rate": made["sampling_rate"]})
            else:
                found.append(write_wav(made["audio"], made["sampling_rate"]))
        return found

    return answer
