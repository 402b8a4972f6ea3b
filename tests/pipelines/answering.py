"""A process with torch: answers calls by the worker's program, and the same questions by transformers alone.

    python -m tests.pipelines.answering FOLDER

One JSON object per line in, one out. Runs in the reference environment.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from inlet.runtime.handler.child.program import Caller, Failed
from inlet.runtime.pipelines.child.opening import CannotOpen
from inlet.runtime.pipelines.child.program import load
from inlet.runtime.pipelines.tasks import sample
from tests.pipelines.models import make

BELOW = Path(sys.argv[1])


@cache
def opened(model: str, task: str) -> Any:
    call = sample(task)
    settings = {
        "folder": str(make(model, BELOW)), "task": task, "threads": 1, "trust_remote_code": model == "hungry",
        "sample": {"inputs": call.inputs, "parameters": call.parameters, "blobs": [blob.hex() for blob in call.blobs]},
    }  # fmt: skip
    return load(json.loads(json.dumps(settings)), lambda _: None)


@cache
def pipeline(model: str, task: str) -> Any:
    return transformers.pipeline(task, model=str(make(model, BELOW)), device="cpu")


def answer(asked: dict[str, Any]) -> Any:
    """What the worker's program replies."""
    head = {"inputs": asked["inputs"], "parameters": asked["parameters"]}
    try:
        reply = opened(asked["model"], asked["task"])(
            head, [base64.b64decode(blob) for blob in asked["blobs"]]
        )
    except CannotOpen as error:
        return {"refused": {"field": "model", "message": str(error)}}
    except MemoryError as error:
        return {"starved": str(error)}
    if isinstance(reply, tuple):
        told, blobs = reply
        contents = [base64.b64encode(blob).decode() for blob in blobs]
        return told if "refused" in told else {**told, "blobs": contents}
    pieces = [piece for (piece, _), _ in zip(reply, range(asked.get("most", 1_000)), strict=False)]
    reply.close()
    return {"pieces": [piece["piece"] for piece in pieces]}


def expect(asked: dict[str, Any]) -> Any:
    """What transformers' own pipeline says."""
    return {
        "value": plain(pipeline(asked["model"], asked["task"])(media(asked["inputs"]), **asked["parameters"]))
    }


def generate(asked: dict[str, Any]) -> Any:
    """What `generate` makes of a text, without anything of ours around it."""
    folder = make(asked["model"], BELOW)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    with torch.no_grad():
        made = model.generate(**tokenizer(asked["inputs"], return_tensors="pt"), **asked["parameters"])
    return {"value": tokenizer.batch_decode(made, skip_special_tokens=True)}


def draw(asked: dict[str, Any]) -> Any:
    """The image that diffusers makes of a text."""
    import diffusers

    pipe = diffusers.StableDiffusionPipeline.from_pretrained(make(asked["model"], BELOW))
    seeded = torch.Generator().manual_seed(asked["seed"])
    written = io.BytesIO()
    pipe(asked["inputs"], generator=seeded, **asked["parameters"]).images[0].save(written, "PNG")
    return {"png": base64.b64encode(written.getvalue()).decode()}


def paint(asked: dict[str, Any]) -> Any:
    """A white image's file, in a format by Pillow's name."""
    from PIL import Image

    written, image = io.BytesIO(), Image.new("RGB", (48, 32), "white")
    several = {"save_all": True, "append_images": [image]} if asked["format"] == "MPO" else {}
    image.save(written, asked["format"], **several)
    return {"image": base64.b64encode(written.getvalue()).decode()}


def record(asked: dict[str, Any]) -> Any:
    """A second of silence, in a format and by a codec by FFmpeg's names."""
    import av

    written = io.BytesIO()
    with av.open(written, "w", format=asked["format"]) as container:
        stream = container.add_stream(asked["codec"], rate=48_000, layout="mono")
        stream.bit_rate = 64_000
        resampler = av.AudioResampler(stream.format, "mono", 48_000, stream.frame_size or 1_024)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.int16), "s16", "mono")
        frame.sample_rate = 48_000
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return {"sound": base64.b64encode(written.getvalue()).decode()}


def handle(asked: dict[str, Any]) -> Any:
    """The size of the image that a custom handler gets for a body."""
    head = {"kind": "image", "query": [], "accept": ""}
    try:
        _, (size,) = Caller(lambda data: data["inputs"].size, 500).answer(
            head, [base64.b64decode(asked["body"])]
        )
    except Failed as error:
        return {"refused": {"status": error.status, "message": str(error)}}
    return {"size": json.loads(size)}


def media(value: Any) -> Any:
    if isinstance(value, dict) and "$image" in value:
        from PIL import Image

        return Image.open(io.BytesIO(base64.b64decode(value["$image"]))).convert("RGB")
    if isinstance(value, dict):
        return {name: media(item) for name, item in value.items()}
    return value


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float):
        return float(value)
    return value.tolist() if hasattr(value, "tolist") else "…"


DO = {
    "answer": answer, "expect": expect, "generate": generate, "draw": draw, "paint": paint, "record": record, "handle": handle,
}  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            told = DO[asked["do"]](asked)
        except Exception:  # noqa: BLE001 - the test that asked shows it
            told = {"failed": traceback.format_exc()}
        sys.__stdout__.write(json.dumps(told, allow_nan=False) + "\n")
        sys.__stdout__.flush()


if __name__ == "__main__":
    main()
