"""Reads `config.json` into the sizes of a decoder; refuses what is not certain.

Used by `tensors`, `write` and `__main__`; nothing here touches weights or tokenizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inlet.core.errors import Refused
from inlet.runtime.gguf.families import FAMILIES, Family

# More than any model has; less than what would fill the memory before the weights show that it is wrong.
_MOST = 10_000_000
_MOST_LAYERS = 1_000
# Values under which a family is what its entry says; absent counts as None.
_REQUIRED: Mapping[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (None, False),
    "quantization_config": (None,),
    "partial_rotary_factor": (None, 1),
}
_DEFAULTS: Mapping[str, Any] = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
}
_SCALING: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Kinds of scaled rotary positions, and the numbers of each."""


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions: the base, how they are scaled, and the base of layers that see only a window."""

    base: float
    kind: str
    numbers: Mapping[str, float]
    windowed_base: float | None = None


@dataclass(frozen=True, slots=True)
class Decoder:
    """Sizes and settings of one decoder. `positions`: the longest context in tokens for which the file is the model.

    `rope`: None if positions are learned. `window`: tokens that windowed layers see. `biased`: names of tensors that come
    with a bias. `soft_caps`: of scores and of logits.
    """

    family: Family
    sizes: Mapping[str, int]
    positions: int
    layers: int
    heads: int
    kv_heads: int
    eps: float
    tied: bool
    rope: Rope | None
    window: int | None
    soft_caps: tuple[float, float] | None
    biased: frozenset[str]
    dtype: str | None


def decoder(config: Mapping[str, Any]) -> Decoder:
    """The decoder, if llama.cpp computes exactly that."""
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise Refused(
            f"models of type {kind!r} cannot be turned into a GGUF file; those that can: {', '.join(sorted(FAMILIES))}"
        )
    settings = _Settings(config, family)
    settings.require({**_REQUIRED, **family.required, settings.name("hidden_act"): family.activations})
    sizes = _sizes(settings)
    positions = sizes["positions"]
    window = None if settings.get("use_sliding_window") is False else settings.optional_size("sliding_window")
    if family.window_pattern:
        _check_windows(settings, sizes["head"])
    else:
        _check_layers(settings, window)
        if window is not None:
            positions, window = min(positions, window), None  # up to there the window hides nothing
    return Decoder(
        family=family,
        sizes=sizes,
        positions=positions,
        layers=settings.size("num_hidden_layers", most=_MOST_LAYERS),
        heads=settings.size("num_attention_heads"),
        kv_heads=_kv_heads(settings),
        eps=settings.number("rms_norm_eps"),
        tied=settings.get("tie_word_embeddings") is True,
        rope=_rope(settings) if family.scalings else None,
        window=window,
        soft_caps=_soft_caps(settings) if family.soft_caps else None,
        biased=frozenset(
            name
            for setting, names in family.biased.items()
            if setting is None or settings.get(setting) is True
            for name in names
        ),
        dtype=config.get("dtype") or config.get("torch_dtype"),
    )


def _kv_heads(settings: _Settings) -> int:
    return settings.optional_size("num_key_value_heads") or settings.size("num_attention_heads")


def _sizes(settings: _Settings) -> dict[str, int]:
    """Of tensors, by the names that `families` uses."""
    hidden, heads, kv_heads = (
        settings.size("hidden_size"),
        settings.size("num_attention_heads"),
        _kv_heads(settings),
    )
    head = settings.optional_size("head_dim")
    if head is None and hidden % heads:
        raise settings.refusal("hidden_size", f"a multiple of {heads} heads")
    if heads % kv_heads:
        raise settings.refusal("num_key_value_heads", f"a divisor of {heads} heads")
    head = head or hidden // heads
    if settings.family.scalings and head % 2:
        raise settings.refusal("head_dim", "even, for positions to be rotated")
    intermediate = settings.optional_size("intermediate_size") or 4 * hidden
    return {
        "vocabulary": settings.size("vocab_size"),
        "positions": settings.size("max_position_embeddings"),
        "hidden": hidden,
        "head": head,
        "queries": heads * head,
        "keys": kv_heads * head,
        "queries_keys_values": (heads + 2 * kv_heads) * head,
        "intermediate": intermediate,
        "gate_up": 2 * intermediate,
    }


def _rope(settings: _Settings) -> Rope:
    """As transformers 5 writes it (`rope_parameters`), or as it was before (`rope_theta`, `rope_scaling`)."""
    given = settings.table("rope_parameters")
    windowed: float | None = None
    if settings.family.window_pattern and "full_attention" in given:
        local = _table(given, "sliding_attention")
        if local.get("rope_type", "default") != "default":
            raise Refused(
                "config.json scales the rotary positions of windowed layers, which is not supported"
            )
        given, windowed = _table(given, "full_attention"), _number(local, "rope_theta")
    elif settings.family.window_pattern and settings.get("rope_local_base_freq") is not None:
        windowed = settings.number("rope_local_base_freq")
    if not given:
        given = {"rope_theta": settings.get("rope_theta"), **settings.table("rope_scaling")}
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind not in settings.family.scalings:
        raise Refused(
            f"config.json scales rotary positions as {kind!r}; supported for this family: {', '.join(settings.family.scalings)}"
        )
    if given.get("partial_rotary_factor") not in (None, 1):
        raise Refused(
            "config.json rotates only a part of each head (partial_rotary_factor), which is not supported"
        )
    numbers = {name: _number(given, name) for name in _SCALING[kind]}
    return Rope(_number(given, "rope_theta"), kind, numbers, windowed)


def _check_layers(settings: _Settings, window: int | None) -> None:
    """That each sees everything, or the window."""
    kinds = settings.get("layer_types") or []
    known = {"full_attention"} if window is None else {"full_attention", "sliding_attention"}
    if not isinstance(kinds, list) or any(not isinstance(kind, str) or kind not in known for kind in kinds):
        raise settings.refusal("layer_types", f"a list of {' and '.join(sorted(known))}")


def _check_windows(settings: _Settings, head: int) -> None:
    """That the layers are what llama.cpp takes for granted in this family."""
    family, layers = settings.family, settings.size("num_hidden_layers", most=_MOST_LAYERS)
    every = family.window_pattern
    kinds = ["sliding_attention" if number % every else "full_attention" for number in range(1, layers + 1)]
    if settings.get("layer_types") not in (None, kinds):
        raise settings.refusal(
            "layer_types", f"full_attention in every layer number {every}, else sliding_attention"
        )
    if settings.get("sliding_window_pattern") not in (None, every):
        raise settings.refusal("sliding_window_pattern", str(every))
    settings.size("sliding_window")
    scalar = settings.size("hidden_size") // settings.size("num_attention_heads")
    scalar = scalar if layers == family.scaled_by_hidden else head
    if settings.get("query_pre_attn_scalar") != scalar:
        raise settings.refusal("query_pre_attn_scalar", str(scalar))


def _soft_caps(settings: _Settings) -> tuple[float, float]:
    return settings.number("attn_logit_softcapping"), settings.number("final_logit_softcapping")


class _Settings:
    """`config.json` as one family reads it, under Llama's names; refuses values that are missing or of another kind."""

    def __init__(self, config: Mapping[str, Any], family: Family) -> None:
        self.family = family
        absent = {self.name(key): value for key, value in {**_DEFAULTS, **family.defaults}.items()}
        self._values = {**absent, **config}

    def name(self, key: str) -> str:
        """What config.json calls a setting."""
        return self.family.renamed.get(key, key)

    def get(self, key: str) -> Any:
        return self._values.get(self.name(key))

    def size(self, key: str, *, most: int = _MOST) -> int:
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise self.refusal(key, f"a positive whole number up to {most}")
        return value

    def optional_size(self, key: str) -> int | None:
        return None if self.get(key) is None else self.size(key)

    def number(self, key: str) -> float:
        return _number(self._values, self.name(key))

    def table(self, key: str) -> Mapping[str, Any]:
        return _table(self._values, self.name(key))

    def require(self, values: Mapping[str, tuple[Any, ...]]) -> None:
        for key, allowed in values.items():
            if self._values.get(key) not in allowed:
                raise Refused(
                    f"config.json has {key}={self._values.get(key)!r}, which cannot be turned into a GGUF file"
                )

    def refusal(self, key: str, wanted: str) -> Refused:
        return Refused(f"config.json: {self.name(key)} must be {wanted}, not {self.get(key)!r}")


def _number(values: Mapping[str, Any], key: str) -> float:
    value = values.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise Refused(f"config.json: {key} must be a positive number, not {value!r}")
    return float(value)


def _table(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Refused(f"config.json: {key} must be an object, not {value!r}")
    return value
