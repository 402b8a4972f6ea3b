"""A request for text in the native form, and what llama.cpp is asked for: pure.

Parameters are those of text-generation-inference, whose clients send them, and the ones of transformers that mean something
here. Every other name, and every value that cannot be, is refused with the field. Called by `serving`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inlet.core.errors import Invalid
from inlet.runtime.dialect import kind
from inlet.runtime.generation.constraint import grammar_of
from inlet.runtime.tasks.parameters import D, Parameters

_DEFAULT_NEW_TOKENS = 1024
_MOST_STOPS = 16
_MOST_TOP_TOKENS = 20
_SEEDS = 2**32 - 1  # llama.cpp's seeds are below; the last one would mean a random one

_WRAPPERS = ("generate_kwargs", "generation_parameters", "generate_parameters")
_UNSUPPORTED = {
    "adapter_id": "adapters are not served here: leave it out",
    "decoder_input_details": "tokens of the prompt are not reported here: leave it out or send false",
    "watermark": "is not available here: leave it out or send false",
}
KNOWN = frozenset(
    {
        "best_of", "details", "do_sample", "frequency_penalty", "grammar", "max_new_tokens", "min_p", "presence_penalty",
        "num_return_sequences", "repetition_penalty", "return_full_text", "seed", "stop", "stop_sequences", "temperature", "top_k",
        "top_n_tokens", "top_p", "truncate", "typical_p", *_UNSUPPORTED,
    }
)  # fmt: skip
"""Every parameter that is read; also accepted beside `inputs`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`sampling`: fields of llama.cpp's request. `truncate`: the prompt's last tokens that count. `seed`: None when greedy."""

    sampling: Mapping[str, Any]
    full_text: bool
    details: bool
    top_tokens: int
    truncate: int | None
    seed: int | None


def read(values: Mapping[str, Any], *, context: int, full_text: bool) -> Wanted:
    """Check all. `context`: tokens of prompt and answer together; `full_text`: whether the prompt is repeated if not said."""
    values = _unwrapped(values)
    given = _Numbers(values, KNOWN)
    for name, reason in _UNSUPPORTED.items():
        if values.get(name):
            raise Invalid(reason, field=f"parameters.{name}")
    for name in ("best_of", "num_return_sequences"):
        if given.integer(name, 1, minimum=1) != 1:
            raise Invalid(
                "one text is generated per request here: leave it out or send 1", field=f"parameters.{name}"
            )
    sampling, seed = _sampling(given, context)
    top_tokens = given.integer("top_n_tokens", 0)
    if top_tokens > _MOST_TOP_TOKENS:
        raise Invalid(
            f"must be at most {_MOST_TOP_TOKENS}, got {top_tokens}", field="parameters.top_n_tokens"
        )
    details = given.boolean("details", default=False)
    return Wanted(
        sampling={
            **sampling,
            **_grammar(values.get("grammar")),
            "n_predict": given.integer(
                "max_new_tokens", min(_DEFAULT_NEW_TOKENS, context), minimum=1, maximum=context
            ),
            "stop": _stops(given),
            "n_probs": max(1, top_tokens),
            "return_tokens": True,
        },
        full_text=given.boolean("return_full_text", full_text),
        details=details,
        top_tokens=top_tokens,
        truncate=given.integer("truncate", None, minimum=1),
        seed=seed,
    )


class _Numbers(Parameters):
    """With fractions."""

    def number(self, name: str, default: D, *, above: float, most: float = 1e6) -> float | D:
        """More than `above`, at most `most`."""
        value = self._values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, "a number", value)
        if not above < value <= most:
            raise Invalid(
                f"must be more than {above:g} and at most {most:g}, got {value}", field=self._field(name)
            )
        return float(value)


def _unwrapped(values: Mapping[str, Any]) -> dict[str, Any]:
    """With what clients put one level deeper."""
    plain = {name: value for name, value in values.items() if name not in _WRAPPERS}
    for wrapper in _WRAPPERS:
        inner = values.get(wrapper)
        if inner is None:
            continue
        if not isinstance(inner, Mapping):
            raise Invalid(f"expected an object, got {kind(inner)}", field=f"parameters.{wrapper}")
        plain.update(inner)
    return plain


def _sampling(given: _Numbers, context: int) -> tuple[dict[str, Any], int | None]:
    """Greedy unless something asks for chance, as text-generation-inference has it; and the seed if there is chance."""
    temperature = given.number("temperature", None, above=0, most=100)
    top_k = given.integer("top_k", None)
    top_p = given.number("top_p", None, above=0, most=1)
    typical_p = given.number("typical_p", None, above=0, most=1)
    min_p = given.number("min_p", None, above=0, most=1)
    penalties = {
        "repeat_penalty": given.number("repetition_penalty", 1.0, above=0, most=100),
        "repeat_last_n": context,
        "frequency_penalty": given.number("frequency_penalty", 0.0, above=-100, most=100),
        "presence_penalty": given.number("presence_penalty", 0.0, above=-100, most=100),
    }
    seed = given.integer("seed", None)
    chance = any(value is not None for value in (temperature, top_k, top_p, typical_p, min_p))
    if not given.boolean("do_sample", default=chance):
        return {**penalties, "temperature": 0.0, "top_k": 1}, None
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    return {
        **penalties,
        "temperature": 1.0 if temperature is None else temperature,
        "top_k": min(top_k or 0, 2**31 - 1),
        "top_p": 1.0 if top_p is None else top_p,
        "typical_p": 1.0 if typical_p is None else typical_p,
        "min_p": 0.0 if min_p is None else min_p,
        "seed": seed % _SEEDS,
    }, seed


def _stops(given: Parameters) -> list[str]:
    stops: list[str] = []
    for name in ("stop", "stop_sequences"):
        if given.has_value(name):
            stops += given.strings(name, [])
    if len(stops) > _MOST_STOPS:
        raise Invalid(
            f"has {len(stops)} texts, more than the {_MOST_STOPS} that are possible", field="parameters.stop"
        )
    if not all(stops):
        raise Invalid("must not have an empty text", field="parameters.stop")
    return stops


def _grammar(grammar: Any) -> dict[str, Any]:
    field, kinds = "parameters.grammar", ("json", "json_object", "json_schema")
    if grammar is None:
        return {}
    if not isinstance(grammar, Mapping):
        raise Invalid(f"expected an object with type and value, got {kind(grammar)}", field=field)
    which, value = grammar.get("type"), grammar.get("value")
    if which not in kinds:
        hint = (
            "regular expressions are not available here" if which == "regex" else "that is no kind of grammar"
        )
        raise Invalid(f"{hint}; send one of {', '.join(kinds)}", field=f"{field}.type")
    if which == "json_schema" and isinstance(value, Mapping):
        value = value.get("schema", value)
    return {"grammar": grammar_of(value, f"{field}.value")}
