"""How token vectors become one vector for a text: the sentence-transformers files of a model, or their default.

Read once at start by `model`; `pool` runs in the lanes' threads. Without such files a text is the mean of its tokens,
which is what sentence-transformers itself falls back to. Several modes at once give one vector after another; dense layers
may follow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inlet.core.errors import Invalid, Refused
from inlet.runtime.build.config import read_json
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.scores import sigmoid


def _weighted_mean(row: FloatArray) -> FloatArray:
    """Later tokens count more: of causal models they have seen more of the text."""
    weights = np.arange(1, len(row) + 1, dtype=np.float32)
    return np.asarray(weights @ row / weights.sum(), dtype=np.float32)


# In the order in which several of them are joined.
_MODES: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "cls": lambda row: row[0],
    "max": lambda row: row.max(axis=0),
    "mean": lambda row: row.mean(axis=0),
    "mean_sqrt_len_tokens": lambda row: row.sum(axis=0) / np.sqrt(np.float32(len(row))),
    "weightedmean": _weighted_mean,
    "lasttoken": lambda row: row[-1],
}
# As the older files spell them.
_OLDER = {
    "cls_token": "cls",
    "mean_tokens": "mean",
    "max_tokens": "max",
    "weightedmean_tokens": "weightedmean",
}
# The classes of torch that a dense layer may name.
_ACTIVATIONS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "Identity": lambda vector: vector,
    "Tanh": np.tanh,
    "ReLU": lambda vector: np.maximum(vector, 0),
    "Sigmoid": sigmoid,
}


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A linear layer behind the pooling. `weight` [out, in], `bias` [out]."""

    weight: FloatArray
    bias: FloatArray
    activation: str

    def __call__(self, vector: FloatArray) -> FloatArray:
        """[in] to [out]."""
        return np.asarray(_ACTIVATIONS[self.activation](self.weight @ vector + self.bias), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Pooling:
    """`declared` when the model's own files say all this; `mode` may be several, joined by "+"; `max_length` and `lower_case` hold for pooled texts only."""

    declared: bool = False
    mode: str = "mean"
    dense: tuple[Dense, ...] = ()
    normalize: bool = False
    max_length: int | None = None
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None

    def pool(self, row: FloatArray) -> FloatArray:
        """[tokens, hidden], special tokens included, to [width]; never a view of `row`."""
        vector = np.concatenate([_MODES[mode](row) for mode in self.mode.split("+")])
        for layer in self.dense:
            vector = layer(vector)
        return vector

    def width(self, hidden: int) -> int:
        """Numbers in a pooled vector, if a token's has `hidden`."""
        return len(self.dense[-1].bias) if self.dense else hidden * len(self.mode.split("+"))

    def prompt(self, name: str | None, *, field: str = "parameters.prompt_name") -> str:
        """The text that goes before each text under that prompt name; without one, the model's default prompt."""
        if name is None:
            return self.prompts[self.default_prompt] if self.default_prompt is not None else ""
        if name not in self.prompts:
            known = ", ".join(sorted(self.prompts)) or "none"
            raise Invalid(f"this model has no prompt {name!r}; it has: {known}", field=field)
        return self.prompts[name]


def normalised(vector: FloatArray) -> FloatArray:
    """The vector at length one; a null vector stays null."""
    result: FloatArray = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return result


def read_pooling(folder: Path) -> Pooling:
    """What the sentence-transformers files say; `Refused` when they name a step that is not supported."""
    modules_file = folder / "modules.json"
    if not modules_file.is_file():
        return Pooling()
    modules = _modules(modules_file)
    kinds = [kind for kind, _ in modules]
    normalize = kinds[-1:] == ["Normalize"]
    middle = kinds[2 : -1 if normalize else None]
    if kinds[:2] != ["Transformer", "Pooling"] or set(middle) - {"Dense"}:
        raise Refused(
            f"modules.json lists {', '.join(kinds)}; supported: Transformer, Pooling, then Dense, and at the end Normalize"
        )
    sentence = _optional(folder / "sentence_bert_config.json")
    extras = _optional(folder / "config_sentence_transformers.json")
    prompts = {str(name): str(text) for name, text in (extras.get("prompts") or {}).items()}
    settings = read_json(folder / modules[1][1] / "config.json")
    if settings.get("include_prompt") is False and any(prompts.values()):
        raise Refused("1_Pooling/config.json leaves prompts out of the pooling, which is not supported yet")
    default = extras.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise Refused(f"config_sentence_transformers.json has no prompt {default!r}, its default")
    return Pooling(
        declared=True,
        mode=_mode(settings),
        dense=tuple(_dense(folder / path) for kind, path in modules if kind == "Dense"),
        normalize=normalize,
        max_length=sentence.get("max_seq_length"),
        lower_case=bool(sentence.get("do_lower_case")),
        prompts=prompts,
        default_prompt=default,
    )


def _modules(path: Path) -> list[tuple[str, str]]:
    """Kind and folder of each step, in order."""
    try:
        modules = json.loads(path.read_bytes())
        found = [(str(module["type"]).rsplit(".", 1)[-1], str(module["path"])) for module in modules]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("modules.json is damaged; download it again") from error
    if any(Path(folder).is_absolute() or ".." in Path(folder).parts for _, folder in found):
        raise Refused("modules.json points outside the model's folder")
    if found and found[0][1]:
        raise Refused(f"modules.json keeps the transformer in {found[0][1]}, not in the model's folder")
    return found


def _mode(settings: Mapping[str, Any]) -> str:
    begin = "pooling_mode_"
    chosen = [key.removeprefix(begin) for key, on in settings.items() if key.startswith(begin) and on is True]
    named = settings.get("pooling_mode") or [_OLDER.get(name, name) for name in chosen]
    listed = named if isinstance(named, list) else [named]
    unknown = [str(mode) for mode in listed if mode not in _MODES]
    if unknown or not listed:
        raise Refused(
            f"the pooling configuration asks for {', '.join(unknown) or 'no mode'}; supported: {', '.join(_MODES)}"
        )
    return "+".join(mode for mode in _MODES if mode in listed)


def _dense(folder: Path) -> Dense:
    settings = read_json(folder / "config.json")
    out, into = (_size(settings, name, folder) for name in ("out_features", "in_features"))
    activation = str(settings.get("activation_function", "torch.nn.Tanh")).rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise Refused(
            f"{folder.name}/config.json asks for {activation}; supported: {', '.join(_ACTIVATIONS)}"
        )
    weights = Weights.open(folder)
    weight = weights.take("linear.weight", (out, into))
    has_bias = "linear.bias" in weights
    bias = weights.take("linear.bias", (out,)) if has_bias else np.zeros(out, np.float32)
    return Dense(weight, bias, activation)


def _size(settings: Mapping[str, Any], name: str, folder: Path) -> int:
    size = settings.get(name)
    if not isinstance(size, int) or size < 1:
        raise Refused(f"{folder.name}/config.json must say {name}")
    return size


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
