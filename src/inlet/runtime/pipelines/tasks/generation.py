"""Parameters of generated text, in every wrapper that clients use. Pure; used by the tasks that generate.

They may stand among the parameters, or in an object `generate_parameters`, `generation_parameters` or `generate_kwargs`
there; what stands directly wins. Those of other servers that mean nothing here are accepted while they ask for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inlet.runtime.pipelines.tasks.fields import (
    Fields,
    Values,
    boolean,
    integer,
    number,
    padding,
    read,
    strings,
    truncation,
)

WRAPPERS = ("generate_parameters", "generation_parameters", "generate_kwargs")
MAX_TOKENS = 100_000  # the model's own bound is checked where the model is
MAX_SEQUENCES = 16  # each takes the memory of a whole text
_STOPS = 16


def _early_stopping(values: Values, name: str) -> bool | str | None:
    return "never" if values.get(name) == "never" else values.boolean(name, None)


FIELDS: Fields = {
    "max_new_tokens": integer(1, MAX_TOKENS),
    "max_length": integer(1, MAX_TOKENS),
    "min_new_tokens": integer(0, MAX_TOKENS),
    "min_length": integer(0, MAX_TOKENS),
    "num_beams": integer(1, MAX_SEQUENCES),
    "num_return_sequences": integer(1, MAX_SEQUENCES),
    "do_sample": boolean,
    "early_stopping": _early_stopping,
    "temperature": number(0, 100, above=True),
    "top_k": integer(0, 1_000_000),
    "top_p": number(0, 1, above=True),
    "min_p": number(0, 1),
    "typical_p": number(0, 1, above=True),
    "repetition_penalty": number(0, 100, above=True),
    "encoder_repetition_penalty": number(0, 100, above=True),
    "length_penalty": number(-100, 100),
    "no_repeat_ngram_size": integer(0, 1_000),
    "encoder_no_repeat_ngram_size": integer(0, 1_000),
    "seed": integer(0, 2**63 - 1),
    "stop": strings(_STOPS),
    "stop_strings": strings(_STOPS),
    "stop_sequences": strings(_STOPS),
    "use_cache": boolean,
    "truncation": truncation,
    "truncate": integer(1, 10_000_000),
    "padding": padding,
    "clean_up_tokenization_spaces": boolean,
}
_STOP_NAMES = ("stop", "stop_strings", "stop_sequences")

# Of text-generation-inference: what asks for nothing. Anything else is refused rather than silently left out.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "adapter_id": (None,),
    "best_of": (None, 1),
    "decoder_input_details": (None, False),
    "frequency_penalty": (None, 0, 0.0),
    "grammar": (None,),
    "top_n_tokens": (None, 0),
    "watermark": (None, False),
}
NAMES = frozenset({*FIELDS, *WRAPPERS, *_NEUTRAL})


def read_generation(values: Values, own: Fields) -> dict[str, Any]:
    """What to generate with, and the task's `own` parameters, which may stand in the wrappers too.

    `stop` holds every stop string, whatever it was called.
    """
    found: dict[str, Any] = {}
    for wrapper in WRAPPERS:
        found |= _read(values.within(wrapper, {*NAMES, *own} - {*WRAPPERS}), own)
    found |= _read(values, own)
    if (beams := found.get("num_beams", 1)) < found.get("num_return_sequences", 1) and not found.get(
        "do_sample"
    ):
        raise values.invalid(
            "num_return_sequences",
            f'at most num_beams ({beams}) of them differ; send more beams, or "do_sample": true',
        )
    return found


def _read(values: Values, own: Fields) -> dict[str, Any]:
    for name, neutral in _NEUTRAL.items():
        if values.get(name) not in neutral:
            raise values.invalid(name, "this server does not do that; leave it out")
    found = read(values, {**FIELDS, **own})
    stops = [text for name in _STOP_NAMES for text in found.pop(name, []) if text]
    return {**found, "stop": stops} if stops else found
