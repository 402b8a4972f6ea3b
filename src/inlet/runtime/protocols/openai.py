"""The routes of OpenAI's API that an embedding model has, and its list of models. Called by way of `table`."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np

from inlet.core.errors import InletError, Invalid, NotFound, TooMany
from inlet.runtime import answers
from inlet.runtime.answers import Answer
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.protocols.fields import Fields
from inlet.runtime.protocols.inputs import read_dimensions, read_inputs, vectors
from inlet.runtime.protocols.routed import Routed, Unfit
from inlet.runtime.protocols.times import timed
from inlet.runtime.texts import Limit

MAX_INPUTS = 2_048  # in one request, as OpenAI has it
_FIELDS = frozenset({"model", "encoding_format", "dimensions", "user"})


async def embeddings(routed: Routed) -> Answer:
    """A vector for each input, at length one. Longer texts than the model takes are clipped."""
    encoder, received = routed.embedder(), routed.body()
    model = encoder.loaded.model
    items = read_inputs(received.get("input"), "input", most=MAX_INPUTS)
    if len(set(map(type, items))) > 1:
        raise Invalid("texts and token ids in one list: send them apart", field="input")
    p = Fields(received, _FIELDS)
    for name in ("model", "user"):
        p.string(name, None)
    packed = p.choice("encoding_format", ("float", "base64"), "float") == "base64"
    dimensions = read_dimensions(p, model)
    work = vectors(model, items, Limit(model.sentences.max_length, clip=True), dimensions=dimensions)
    computed = await encoder.compute(work, routed.asked)

    def answer() -> dict[str, Any]:
        data = [
            {"object": "embedding", "index": index, "embedding": _packed(row) if packed else row}
            for index, row in enumerate(computed.rows)
        ]
        usage = {"prompt_tokens": computed.tokens, "total_tokens": computed.tokens}
        return {"object": "list", "data": data, "model": routed.name, "usage": usage}

    return timed(await encoder.written(answer, computed), computed, routed.asked)


async def models(routed: Routed) -> Answer:
    """The one model that is served."""
    return answers.ok({"object": "list", "data": [_model(routed)]})


async def model(routed: Routed) -> Answer:
    """The same by its name."""
    wanted = routed.parts["name"]
    if wanted != routed.name:
        raise NotFound(f"there is no model {wanted!r}; this endpoint serves {routed.name!r}", field="model")
    return answers.ok(_model(routed))


def refuse(error: InletError) -> Answer:
    """An error as OpenAI's clients read it."""
    status = 400 if isinstance(error, Unfit) else error.status
    kind = "invalid_request_error" if status < 500 else "server_error"
    if isinstance(error, TooMany):
        kind = "rate_limit_error"
    code = "model_not_found" if isinstance(error, NotFound) else None
    said = {"message": str(error), "type": kind, "param": error.field, "code": code}
    return replace(answers.from_error(error), status=status, body=answers.dump({"error": said}))


def _packed(vector: FloatArray) -> str:
    return base64.b64encode(vector.astype(np.dtype("<f4")).tobytes()).decode()


def _model(routed: Routed) -> dict[str, Any]:
    # When the model was made is not known.
    return {"id": routed.name, "object": "model", "created": 0, "owned_by": "inlet"}
