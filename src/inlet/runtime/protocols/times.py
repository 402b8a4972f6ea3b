"""What a request took, in the headers of text-embeddings-inference. Called by the routes that it has, in whatever protocol they are."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from inlet.runtime.answers import Answer
from inlet.runtime.encoding import Computed
from inlet.runtime.serving import Asked


def timed(answer: Answer, computed: Computed, asked: Asked) -> Answer:
    """The answer with them; times are whole milliseconds."""
    total = _milliseconds(asyncio.get_running_loop().time() - asked.arrived)
    headers = {
        "x-compute-time": total,
        "x-compute-tokens": str(computed.tokens),
        "x-total-time": total,
        "x-tokenization-time": _milliseconds(computed.tokenizing),
        "x-queue-time": _milliseconds(computed.queueing),
        "x-inference-time": _milliseconds(computed.computing),
    }
    return replace(answer, headers={**answer.headers, **headers})


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
