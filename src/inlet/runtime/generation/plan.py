"""How much context llama.cpp gets, so that everything fits into the replica's memory: pure.

Called by `opening`. Weights, keys and values in fp16, and buffers are all counted: a replica that starts can answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from inlet.core.errors import Refused
from inlet.runtime.generation.header import Header
from inlet.runtime.generation.settings import CONTEXT, PARALLEL, Settings

_PARALLEL = 4  # requests computed at once, unless said otherwise
_PER_REQUEST = 8_192  # tokens of context of each, unless said otherwise and if the model has so many
_LEAST = 512  # tokens of context, below which a request is hardly worth serving
_STEP = 256  # llama.cpp rounds contexts to this
_WEIGHTS = 1.1  # repacked for this processor, some weights take more room than in the file
_BUFFERS = 400_000_000  # bytes of the programs and of what one batch needs
_MOST_PROMPTS = 2_000_000_000  # bytes of finished prompts that are kept for the next request like them


@dataclass(frozen=True, slots=True)
class Plan:
    """`context`: tokens of each of `parallel` requests. `prompts`: bytes for prompts that are kept beside."""

    context: int
    parallel: int
    prompts: int


def make_plan(header: Header, weights: int, settings: Settings, memory: int) -> Plan:
    """`weights` and `memory` in bytes. `Refused` says what does not fit and what would."""
    parallel = settings.parallel or _PARALLEL
    trained = header.context or _PER_REQUEST
    left = memory - _BUFFERS - int(weights * _WEIGHTS)
    room = max(0, left) // max(1, header.cache_bytes * parallel)  # tokens of each request
    if settings.context is not None:
        context = settings.context // parallel
        if context > trained:
            raise Refused(
                f"{settings.context} tokens for {parallel} requests are {context} each, and the model was trained for {trained}: "
                f"at most {trained * parallel}",
                field=CONTEXT,
            )
        if context < 1:
            raise Refused(f"must be at least {PARALLEL}, which is {parallel}", field=CONTEXT)
        least = context
    else:
        least = min(trained, _LEAST)
        context = max(least, min(trained, _PER_REQUEST, _down(room)))
    if room < least:
        raise Refused(
            f"the model does not fit: {weights / 1e9:.1f} GB of weights and {least * parallel} tokens of context take "
            f"{(memory - left + least * parallel * header.cache_bytes) / 1e9:.1f} GB, and {memory / 1e9:.1f} GB of memory are "
            f"there; choose a larger instance, a smaller quantisation, or a smaller {CONTEXT} or {PARALLEL}",
            field="model",
        )
    spare = left - context * parallel * header.cache_bytes
    return Plan(context, parallel, min(_MOST_PROMPTS, spare // 2))


def _down(tokens: int) -> int:
    return tokens // _STEP * _STEP
