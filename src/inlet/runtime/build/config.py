"""Reads `config.json` into the shape of an encoder and the model's labels; refuses what is not certain.

Used by `model`; nothing here touches weights or an engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inlet.core.errors import Refused
from inlet.runtime.build.families import FAMILIES, Family
from inlet.runtime.engines.base import ACTIVATIONS


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Sizes of one encoder; `positions` is the longest input in tokens, special tokens included."""

    family: Family
    vocabulary: int
    positions: int
    token_types: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    activation: str
    eps: float
    pad_id: int


@dataclass(frozen=True, slots=True)
class Labels:
    """What the configuration says about the head. `names` by index, or None when it says nothing."""

    names: Mapping[int, str] | None
    problem_type: str | None
    architectures: tuple[str, ...]


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in that file; `Refused` when it is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{path.name} is not readable JSON; download it again") from error
    if not isinstance(value, dict):
        raise Refused(f"{path.name} is not a JSON object")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder."""
    path = folder / "config.json"
    if not path.is_file():
        raise Refused("the model has no config.json: this is not a transformers model")
    return read_json(path)


def encoder_shape(config: Mapping[str, Any]) -> EncoderShape:
    """The shape, for an architecture that the builder reproduces exactly."""
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise Refused(
            f"models of type {kind!r} are not supported yet; supported: {', '.join(sorted(FAMILIES))}",
        )
    for key, allowed in _HARMLESS.items():
        if config.get(key) not in allowed:
            raise Refused(f"config.json has {key}={config[key]!r}, which is not supported yet")
    activation = config.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise Refused(
            f"config.json has hidden_act={activation!r}; supported: {', '.join(sorted(ACTIVATIONS))}"
        )
    shape = EncoderShape(
        family=family,
        vocabulary=_size(config, "vocab_size"),
        positions=_size(config, "max_position_embeddings"),
        token_types=_size(config, "type_vocab_size"),
        hidden=_size(config, "hidden_size"),
        intermediate=_size(config, "intermediate_size"),
        layers=_size(config, "num_hidden_layers"),
        heads=_size(config, "num_attention_heads"),
        activation=activation,
        eps=float(config.get("layer_norm_eps", 1e-12)),
        pad_id=config.get("pad_token_id") or 0,
    )
    if shape.hidden % shape.heads:
        raise Refused(f"config.json: hidden_size {shape.hidden} is not a multiple of {shape.heads} heads")
    return shape


# Values under which the plain encoder is what the reference computes; absent counts as None.
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "position_embedding_type": (None, "absolute"),
    "is_decoder": (None, False),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
    "pruned_heads": (None, {}),
    "quantization_config": (None,),
    "embedding_size": (None,),
    "auto_map": (None,),
}


def labels(config: Mapping[str, Any]) -> Labels:
    """Labels and what the head was trained for."""
    names: dict[int, str] | None = None
    given = config.get("id2label")
    if given is not None:
        try:
            names = {int(index): str(label) for index, label in given.items()}
        except (AttributeError, ValueError) as error:
            raise Refused("config.json: id2label must map numbers to names") from error
    architectures = config.get("architectures") or []
    return Labels(names, config.get("problem_type"), tuple(str(name) for name in architectures))


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Refused(f"config.json: {key} must be a positive whole number, not {value!r}")
    return value
