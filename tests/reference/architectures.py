"""Prints which classes transformers has for which kind of model, as JSON. Runs in the reference environment.

`{kind: {class: names of its settings}}`; kinds by their names in transformers, like `MASKED_LM`. Settings only of the kinds that
they tell apart.
"""

from __future__ import annotations

import json
import sys

from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto

_TOLD_BY_SETTINGS = ("TEXT_ENCODING", "IMAGE", "IMAGE_TEXT_TO_TEXT")


def classes(kind: str) -> dict[str, list[str]]:
    found = {}
    for model_type, names in getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES").items():
        told = settings(model_type) if kind in _TOLD_BY_SETTINGS else []
        found |= dict.fromkeys((names,) if isinstance(names, str) else names, told)
    return found


def settings(model_type: str) -> list[str]:
    config = CONFIG_MAPPING[model_type]
    return sorted({*config.sub_configs, *config.__dataclass_fields__} - {"architectures"})


if __name__ == "__main__":
    sys.stdout.write(json.dumps({kind: classes(kind) for kind in sys.argv[1:]}))
