"""How token vectors become one vector for a text: the sentence-transformers files of a model, or their default.

Read once at start by `model`; `pool` runs in the lanes' threads. Without such files a text is the mean of its tokens,
which is what sentence-transformers itself falls back to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inlet.core.errors import Invalid, Refused
from inlet.runtime.build.config import read_json
from inlet.runtime.engines.base import FloatArray

_MODES = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}  # as the older files spell them


@dataclass(frozen=True, slots=True)
class Pooling:
    """`declared` when the model's own files say all this; `max_length` and `lower_case` hold for pooled texts only."""

    declared: bool = False
    mode: str = "mean"
    normalize: bool = False
    max_length: int | None = None
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None

    def pool(self, row: FloatArray) -> FloatArray:
        """[tokens, hidden], special tokens included, to [hidden]."""
        if self.mode == "cls":
            return np.array(row[0])
        return np.asarray(row.max(axis=0) if self.mode == "max" else row.mean(axis=0))

    def prompt(self, name: str | None) -> str:
        """The text that goes before each text under that prompt name; without one, the model's default prompt."""
        if name is None:
            return self.prompts[self.default_prompt] if self.default_prompt is not None else ""
        if name not in self.prompts:
            known = ", ".join(sorted(self.prompts)) or "none"
            raise Invalid(
                f"this model has no prompt {name!r}; it has: {known}", field="parameters.prompt_name"
            )
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
    steps = {kind: folder / path for kind, path in _modules(modules_file)}
    if list(steps) not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise Refused(
            f"modules.json lists {', '.join(steps)}; supported: Transformer, Pooling and, at the end, Normalize"
        )
    sentence = _optional(folder / "sentence_bert_config.json")
    extras = _optional(folder / "config_sentence_transformers.json")
    prompts = {str(name): str(text) for name, text in (extras.get("prompts") or {}).items()}
    settings = read_json(steps["Pooling"] / "config.json")
    if settings.get("include_prompt") is False and any(prompts.values()):
        raise Refused("1_Pooling/config.json leaves prompts out of the pooling, which is not supported yet")
    default = extras.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise Refused(f"config_sentence_transformers.json has no prompt {default!r}, its default")
    return Pooling(
        declared=True,
        mode=_mode(settings),
        normalize="Normalize" in steps,
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
    mode = settings.get("pooling_mode") or ", ".join(_MODES.get(name, name) for name in chosen)
    if mode not in _MODES.values():
        raise Refused(f"the pooling configuration asks for {mode or 'no mode'}; supported: cls, mean or max")
    return str(mode)


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
