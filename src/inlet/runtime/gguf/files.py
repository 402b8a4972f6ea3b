"""The files of a repository that a GGUF file is made of: pure, from their names. Called before anything large is fetched."""

from __future__ import annotations

import re
from collections.abc import Collection

_USED = re.compile(
    r"config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|chat_template\.jinja"
    r"|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json"
)


def needed(names: Collection[str]) -> set[str]:
    """What it takes."""
    return {name for name in names if _USED.fullmatch(name)}
