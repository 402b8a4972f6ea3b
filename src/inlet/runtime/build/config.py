"""Reads `config.json` into the shape of an encoder and the model's labels; refuses what is not certain.

Used by `model`; nothing here touches weights or an engine.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inlet.core.errors import Refused
from inlet.runtime.build.distances import Disentangled
from inlet.runtime.build.families import FAMILIES, Family
from inlet.runtime.engines.base import ACTIVATIONS

# More than any model has; less than what would fill the memory before the weights show that it is wrong.
_MOST = 10_000_000
_MOST_LAYERS = 1_000


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Sizes of one encoder. `positions` is the longest input in tokens, special tokens included.

    `position_rows`: rows of the table of positions, 0 if there is none; `embedding`: columns of the tables; `groups` and
    `inner`: groups of layers that share weights, and layers in each; `pooled_activation`: the sequence head's.
    """

    family: Family
    model_type: str
    vocabulary: int
    positions: int
    position_rows: int
    token_types: int
    embedding: int
    hidden: int
    intermediate: int
    layers: int
    groups: int
    inner: int
    heads: int
    activation: str
    pooled_activation: str
    eps: float
    pad_id: int
    disentangled: Disentangled | None

    @property
    def scale(self) -> float:
        """What the sum of a query's and a key's scores is multiplied by."""
        kinds = self.disentangled.kinds if self.disentangled else 1
        return float((self.hidden // self.heads * kinds) ** -0.5)

    def layer_names(self) -> Iterator[str]:
        """How the names of each layer's tensors begin, in the order of computation; shared layers come repeatedly."""
        for index in range(self.layers):
            for inner in range(self.inner):
                # As the reference has it: groups need not divide the layers.
                yield self.family.layer.format(int(index / (self.layers / self.groups)), inner)


@dataclass(frozen=True, slots=True)
class Labels:
    """What the configuration says about the head. `names` by index, or None when it says nothing.

    `activation`: what a cross-encoder's score goes through, as sentence-transformers names it ("Sigmoid", "Identity").
    """

    names: Mapping[int, str] | None
    problem_type: str | None
    architectures: tuple[str, ...]
    activation: str | None = None


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
    settings = _Settings(config, family)
    settings.require(_REQUIRED)
    settings.require(family.required)
    hidden, heads = settings.size("hidden_size"), settings.size("num_attention_heads")
    if hidden % heads:
        raise Refused(
            f"config.json: {settings.name('hidden_size')} {hidden} is not a multiple of {heads} heads"
        )
    vocabulary, layers = settings.size("vocab_size"), settings.size("num_hidden_layers", most=_MOST_LAYERS)
    pad_id, rows = _pad_id(settings, family, vocabulary), settings.size("max_position_embeddings")
    positions = rows - pad_id - 1 if family.counts_from_pad else rows
    if positions < 1:
        raise Refused(
            f"config.json: of {rows} max_position_embeddings none is left after pad_token_id {pad_id}"
        )
    return EncoderShape(
        family=family,
        model_type=str(kind),
        vocabulary=vocabulary,
        positions=positions,
        position_rows=rows if settings.switch("position_biased_input") else 0,
        token_types=settings.size("type_vocab_size", least=0),
        embedding=settings.size("embedding_size") if family.projection else hidden,
        hidden=hidden,
        intermediate=settings.size("intermediate_size"),
        layers=layers,
        groups=settings.size("num_hidden_groups", most=layers) if family.groups_layers else layers,
        inner=settings.size("inner_group_num", most=_MOST_LAYERS) if family.groups_layers else 1,
        heads=heads,
        activation=settings.activation("hidden_act"),
        pooled_activation=family.pooled_activation or settings.activation("pooler_hidden_act"),
        eps=settings.fraction("layer_norm_eps"),
        pad_id=pad_id,
        disentangled=_disentangled(settings, rows) if family.disentangled else None,
    )


# What absent settings stand for, where a family does not say otherwise.
_DEFAULTS: Mapping[str, Any] = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "position_biased_input": True,
}
# Values under which the plain encoder is what the reference computes; absent counts as None.
_REQUIRED: Mapping[str, tuple[Any, ...]] = {
    "position_embedding_type": (None, "absolute"),
    "is_decoder": (None, False),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
    "pruned_heads": (None, {}),
    "quantization_config": (None,),
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
    return Labels(
        names, config.get("problem_type"), tuple(str(name) for name in architectures), _activation(config)
    )


def _activation(config: Mapping[str, Any]) -> str | None:
    """The class that a cross-encoder names, newer versions first."""
    block = config.get("sentence_transformers")
    given = block.get("activation_fn") if isinstance(block, Mapping) else None
    given = given or config.get("sbert_ce_default_activation_function")
    return str(given).rsplit(".", 1)[-1] if given else None


class _Settings:
    """`config.json` as one family reads it, under BERT's names; refuses values that are missing or of another kind."""

    def __init__(self, config: Mapping[str, Any], family: Family) -> None:
        self._renamed = family.renamed
        absent = {self.name(key): value for key, value in {**_DEFAULTS, **family.defaults}.items()}
        self._values = {**absent, **config, **family.fixed}

    def name(self, key: str) -> str:
        """What config.json calls a setting."""
        return self._renamed.get(key, key)

    def get(self, key: str) -> Any:
        return self._values.get(self.name(key))

    def size(self, key: str, *, least: int = 1, most: int = _MOST) -> int:
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            kind = "positive whole number" if least == 1 else "whole number"
            raise self.refusal(key, f"a {kind} up to {most}")
        return value

    def fraction(self, key: str) -> float:
        value = self.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1:
            raise self.refusal(key, "a number between 0 and 1")
        return float(value)

    def switch(self, key: str) -> bool:
        value = self.get(key)
        if not isinstance(value, bool):
            raise self.refusal(key, "true or false")
        return value

    def activation(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise Refused(
                f"config.json has {self.name(key)}={value!r}; supported: {', '.join(sorted(ACTIVATIONS))}"
            )
        return value

    def words(self, key: str, allowed: Collection[str]) -> frozenset[str]:
        """A list of words, or one string with bars between them."""
        value = self.get(key)
        words = [word.strip() for word in value.lower().split("|")] if isinstance(value, str) else value
        if not isinstance(words, list) or not words or any(word not in allowed for word in words):
            raise self.refusal(key, f"one or more of {', '.join(allowed)}")
        return frozenset(words)

    def require(self, values: Mapping[str, tuple[Any, ...]]) -> None:
        for key, allowed in values.items():
            if self.get(key) not in allowed:
                raise Refused(f"config.json has {key}={self.get(key)!r}, which is not supported yet")

    def refusal(self, key: str, wanted: str) -> Refused:
        return Refused(f"config.json: {self.name(key)} must be {wanted}, not {self.get(key)!r}")


def _pad_id(settings: _Settings, family: Family, vocabulary: int) -> int:
    if settings.get("pad_token_id") is None and not family.counts_from_pad:
        return 0  # padding is masked, so that any token will do
    return settings.size("pad_token_id", least=0, most=vocabulary - 1)


def _disentangled(settings: _Settings, positions: int) -> Disentangled:
    kinds = settings.words("pos_att_type", ("c2p", "p2c"))
    reach = settings.size("max_relative_positions", least=-1)
    buckets = max(settings.size("position_buckets", least=-1), 0)
    found = Disentangled(
        of_queries="c2p" in kinds,
        of_keys="p2c" in kinds,
        shared=settings.switch("share_att_key"),
        normed="layer_norm" in settings.words("norm_rel_ebd", ("none", "layer_norm")),
        reach=reach if reach > 0 else positions,
        buckets=buckets,
    )
    if buckets and not 0 < buckets // 2 < found.reach - 1:
        raise settings.refusal("position_buckets", f"from 2 to {2 * found.reach - 3}")
    return found
