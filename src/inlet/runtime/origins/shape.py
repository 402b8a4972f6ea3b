"""What tasks need to know of any model, read from `config.json` under the names that its kind uses.

Called by `model` for models that the builder does not make; those that it makes have an `EncoderShape`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inlet.core.errors import Refused
from inlet.runtime.build.config import read_json

_UNKNOWN_LENGTH = 512
_NO_LENGTH = 1_000_000  # larger values of model_max_length stand for "not known"
_SIZES = ("hidden_size", "dim", "d_model", "n_embd")
_LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx")
# Their positions begin behind the padding's: as many rows of the table are never reached.
_POSITIONS_BEHIND_PADDING = frozenset({
    "camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of one model. `positions`: the longest input in tokens, special ones included;
    `end_id`: the token that ends a text, which some models look for.
    """

    model_type: str
    vocabulary: int
    positions: int
    hidden: int
    pad_id: int
    end_id: int | None = None


def model_shape(config: Mapping[str, Any], folder: Path) -> ModelShape:
    """The shape, with the tokenizer's length where the configuration has none; `Refused` names what is missing."""
    vocabulary, hidden = _number(config, ("vocab_size",)), _number(config, _SIZES)
    if vocabulary is None or hidden is None:
        lacks = "vocab_size" if vocabulary is None else " or ".join(_SIZES)
        raise Refused(f"config.json has no {lacks}: the model does not take texts, or is of an unknown kind")
    pad_id, end_id = (_token(config, key, vocabulary) for key in ("pad_token_id", "eos_token_id"))
    model_type = str(config.get("model_type", "unknown"))
    positions = _number(config, _LENGTHS) or _tokenizer_length(folder) or _UNKNOWN_LENGTH
    if model_type in _POSITIONS_BEHIND_PADDING:
        positions -= (pad_id or 0) + 1
    if positions < 1:
        raise Refused(f"config.json leaves no room for a text: {' or '.join(_LENGTHS)} is too small")
    return ModelShape(model_type, vocabulary, positions, hidden, pad_id or 0, end_id)


def _number(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _token(config: Mapping[str, Any], key: str, vocabulary: int) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and 0 <= value < vocabulary else None


def _tokenizer_length(folder: Path) -> int | None:
    file = folder / "tokenizer_config.json"
    length = read_json(file).get("model_max_length") if file.is_file() else None
    return int(length) if isinstance(length, int | float) and 0 < length < _NO_LENGTH else None
