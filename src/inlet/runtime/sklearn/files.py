"""Which file of a repository is its scikit-learn model: pure, from the names of the files and `config.json`.

Called by `ways` before anything large is fetched, and by `opening` for a folder; both get the same answer. What
`config.json` names comes first, then skops files, which run no code when they are loaded, then the usual names of pickles.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from inlet.core.errors import Refused
from inlet.runtime.build.config import read_config

SKOPS = ".skops"
_PICKLES = (".joblib", ".pkl", ".pickle")
_NAMES = tuple(stem + end for end in (SKOPS, *_PICKLES) for stem in ("sklearn_model", "model"))
CONFIG, REQUIREMENTS = "config.json", "requirements.txt"


def settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The block that skops writes into `config.json`; empty where there is none."""
    block = config.get("sklearn")
    return block if isinstance(block, Mapping) else {}


def model_file(names: Collection[str], config: Mapping[str, Any]) -> str | None:
    """The model's file, None if this is no scikit-learn repository; `Refused` if it cannot be told."""
    model = settings(config).get("model")
    named = model.get("file") if isinstance(model, Mapping) else None
    if named is not None:
        if named not in names:
            raise Refused(
                f"config.json names the model file {named!r}, which is not in the repository", field="model"
            )
        return str(named)
    if "model_type" in config or "architectures" in config:  # a transformers model with something beside it
        return None
    if usual := next((name for name in _NAMES if name in names), None):
        return usual
    for ends in ((SKOPS,), _PICKLES):
        found = sorted(name for name in names if name.endswith(ends) and "/" not in name)
        if len(found) > 1:
            raise Refused(
                f"{', '.join(found)}: which of these is the model? Name it {_NAMES[1]} or remove the others",
                field="model",
            )
        if found:
            return found[0]
    return None


def needed(names: Collection[str], config: Mapping[str, Any]) -> list[str]:
    """The files to fetch; none if this is no scikit-learn repository."""
    model = model_file(names, config)
    return [] if model is None else [model, *(name for name in (CONFIG, REQUIREMENTS) if name in names)]


def folder_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder, which a scikit-learn model need not have."""
    return read_config(folder) if (folder / CONFIG).exists() else {}


def names_in(folder: Path) -> set[str]:
    """Every file of a folder, by its path in it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
