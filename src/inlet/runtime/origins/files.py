"""The files of a repository that an encoder needs: pure, from their names and `config.json`. Called before anything large is fetched."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from inlet.runtime.origins.choose import Extras, Origin, choose

DESCRIPTIONS = re.compile(
    r"config\.json|tokenizer\.json|tokenizer_config\.json|modules\.json|sentence_bert_config\.json"
    r"|config_sentence_transformers\.json|[^/]+/config\.json|[^/]+_Dense/model\.safetensors|inlet-samples\.(jsonl|txt)"
)


def selected(names: Collection[str], config: Mapping[str, Any]) -> set[str]:
    """Those of the best way that is open here; `Refused` when there is none."""
    return needed(names, choose(names, config, Extras.installed()))


def needed(names: Collection[str], origin: Origin) -> set[str]:
    """What describes the model, and of weights and graphs only what will be used."""
    return {*(name for name in names if DESCRIPTIONS.fullmatch(name)), *origin.files}
