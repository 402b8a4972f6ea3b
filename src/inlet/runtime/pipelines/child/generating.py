"""Generated text, whatever it is generated from: parameters to `generate`'s, bounds by the model, stop strings, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from inlet.runtime.pipelines.call import BadInput

DEFAULT_TOKENS = 256  # where neither the caller nor the model's generation_config.json says how many
_NOT_GENERATES = frozenset(
    {
        "seed", "stop", "truncation", "truncate", "clean_up_tokenization_spaces", "return_full_text", "details", "stream",
        "src_lang", "tgt_lang", "content_type",
    }
)  # fmt: skip


def passed_on(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those parameters that `generate` itself takes."""
    return {name: value for name, value in parameters.items() if name not in _NOT_GENERATES}


def arguments(
    model: Any, parameters: Mapping[str, Any], *, tokenizer: Any, prompt: int, room: int | None
) -> dict[str, Any]:
    """What `generate` gets besides the model's inputs.

    `prompt`: tokens before the first generated one, which `max_length` and `min_length` count; `room`: tokens that may still be
    generated (at least one), if the model has a bound.
    """
    found = passed_on(parameters)
    # One bound on lengths: `generate` warns of two, and which wins depends on the version.
    for total, new in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        if total in found:
            found.setdefault(new, max(found.pop(total) - prompt, 1 if total == "max_length" else 0))
            found.pop(total, None)
    asked = found.get("max_new_tokens")
    if room is not None and asked is not None and asked > room:
        after = f" after a prompt of {prompt} tokens" if prompt else ""
        raise BadInput(f"this model can make at most {room} tokens{after}", "parameters.max_new_tokens")
    if asked is None:
        asked = _default(model, prompt) if room is None else min(_default(model, prompt), room)
        found["max_new_tokens"] = asked
    if found.get("min_new_tokens", 0) > asked:
        raise BadInput(f"must be at most max_new_tokens ({asked})", "parameters.min_new_tokens")
    if stop := parameters.get("stop"):
        found |= {"stop_strings": stop, "tokenizer": tokenizer}
    if model.generation_config.pad_token_id is None and tokenizer is not None:
        padding = tokenizer.pad_token_id
        found["pad_token_id"] = tokenizer.eos_token_id if padding is None else padding
    if "seed" in parameters:
        torch.manual_seed(parameters["seed"])
    return found


def _default(model: Any, prompt: int) -> int:
    config = model.generation_config
    if config.max_new_tokens is not None:
        return int(config.max_new_tokens)
    if config.max_length is not None and config.max_length > prompt and config.max_length != _LIBRARY_DEFAULT:
        return int(config.max_length) - prompt
    return DEFAULT_TOKENS


_LIBRARY_DEFAULT = 20  # `max_length` of a configuration in which nobody chose one


def without_stop(text: str, stops: list[str]) -> tuple[str, bool]:
    """The text up to the first stop string, and whether there was one."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)
