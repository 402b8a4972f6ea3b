"""What no request for text may hold: endless nesting; on the OpenAI routes also what llama.cpp ignores, clips or wraps around. Pure.

Called by `serving` (`check_nesting`) and `openai`. Types of single values are llama.cpp's to check: it names the field as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inlet.core.errors import Invalid
from inlet.runtime.dialect import kind

_DEEPEST = 100  # lists and objects within each other
_MOST_BIASES = 10_000  # tokens: each makes every token that is generated a little slower
_LEAST, _MOST = -(2**31), 2**31 - 1  # of llama.cpp's whole numbers
_RANGES: Mapping[str, tuple[int, int]] = {
    "max_completion_tokens": (-1, _MOST),
    "max_tokens": (-1, _MOST),
    "min_p": (0, 1),
    "n": (1, _MOST),
    "n_cmpl": (1, _MOST),
    "n_predict": (-1, _MOST),
    "seed": (-(2**63), 2**64 - 1),  # its lowest 32 bits count
    "temperature": (0, _MOST),
    "top_k": (-1, _MOST),
    "top_p": (0, 1),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
}
_SAMPLERS = {
    "adaptive_p": "a", "dry": "d", "infill": "i", "min_p": "m", "penalties": "e", "temperature": "t", "top_k": "k", "top_n_sigma": "s",
    "top_p": "p", "typ_p": "y", "xtc": "x",
}  # fmt: skip


def check_nesting(body: Mapping[str, Any]) -> None:
    """`Invalid`, with the field, for what is nested so deeply that it could not be passed on."""
    for name, value in body.items():
        level, depth = [value] if isinstance(value, dict | list) else [], 0
        while level:
            depth += 1
            if depth > _DEEPEST:
                raise Invalid(f"nested more than {_DEEPEST} levels deep: send something flatter", field=name)
            level = [
                inner
                for outer in level
                for inner in (outer.values() if isinstance(outer, dict) else outer)
                if isinstance(inner, dict | list)
            ]


def check_ignored(body: Mapping[str, Any], ignored: Mapping[str, Any]) -> None:
    """`Invalid` for a field that is not honoured, unless it has the value beside its name, which asks for nothing."""
    for name, harmless in ignored.items():
        if body.get(name, harmless) != harmless:
            raise Invalid("is not available here: leave it out", field=name)


def check_sampling(body: Mapping[str, Any]) -> None:
    """`Invalid`, with the field, for numbers, stop strings, biases and samplers that would not count as they were sent."""
    for name, value in body.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            least, most = _RANGES.get(name, (_LEAST, _MOST))
            if not least <= value <= most:
                raise Invalid(f"must be from {least} to {most}, got {value}", field=name)
    _check_stop(body.get("stop"))
    _check_biases(body.get("logit_bias"))
    _check_samplers(body.get("samplers"))


def _check_stop(stop: Any) -> None:
    stops = stop if isinstance(stop, list) else [] if stop is None else [stop]
    if not all(isinstance(text, str) for text in stops):
        raise Invalid("expected a string or a list of strings", field="stop")
    if not all(stops):
        raise Invalid("must not have an empty text", field="stop")


def _check_biases(biases: Any) -> None:
    """Of numbers by token. llama.cpp also takes pairs in a list, and texts, which may be as many tokens as they have characters."""
    if biases is None:
        return
    if not isinstance(biases, Mapping | list):
        raise Invalid(f"expected an object of numbers by token, got {kind(biases)}", field="logit_bias")
    pairs = (
        biases.items() if isinstance(biases, Mapping) else (pair for pair in biases if isinstance(pair, list))
    )
    names = [pair[0] for pair in pairs if pair]
    tokens = sum(len(name) if isinstance(name, str) and not name.isdecimal() else 1 for name in names)
    if tokens > _MOST_BIASES:
        raise Invalid(f"has more than the {_MOST_BIASES} tokens that are possible", field="logit_bias")


def _check_samplers(samplers: Any) -> None:
    """Names in a list, or their letters in a string; llama.cpp leaves out those that it does not know."""
    if samplers is None:
        return
    known = _SAMPLERS.values() if isinstance(samplers, str) else _SAMPLERS
    if not isinstance(samplers, list | str) or not all(each in list(known) for each in samplers):
        raise Invalid(f"expected a list of {', '.join(_SAMPLERS)}", field="samplers")
